"""The sections of the page, each with the question that it answers. Pure: a ``Page`` in, HTML out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from flwr_telemetry.layout import GONE_HOSTS

from ..outbox.archive import NOWHERE, address_of
from . import drawing
from .follow import Item
from .markup import Html, element, join, prose, table, text
from .words import date_of, ended, local, sentence

if TYPE_CHECKING:
    from .page import Page

_STAGES = {
    "spool": "events that are in no request yet",
    "outbox": "requests that wait for delivery",
    "sent": "requests that were accepted, as far as they are kept",
    "rejected": "requests that the collector refused, as far as they are kept",
}


def sections(page: Page) -> Iterator[Html]:
    """All sections, in their order."""
    for section in (_consent, _destination, _counts, _workloads, _bodies, _fields, _deletion):
        yield section(page)


def _section(name: str, title: str, *parts: Html) -> Html:
    heading = element("h2", title, id=name)
    return element("section", join([heading, *parts]), aria_labelledby=name)


def _consent(page: Page) -> Html:
    status = page.status
    state = "on" if status.enabled else "off"
    verdict = f"Telemetry is {state}."
    if status.enabled and status.kept_by:
        verdict = "Telemetry is on, and nothing is sent: events are collected and shown only."
    parts = [
        element("p", verdict, class_=f"verdict {state}"),
        _pairs({"Why": ended(status.reason), "To change it": status.change}),
    ]
    parts += map(_problem, status.problems)
    return _section("consent", "Is it on?", *parts)


def _destination(page: Page) -> Html:
    status = page.status
    if status.kept_by:
        to = f"nowhere: {ended(status.kept_by)}"
    else:
        to = address_of(status.url) if status.url else "unknown until the settings can be read"
        to += f" ({status.manner})" if status.manner else ""
    last = max((host.last_delivery for host in status.hosts if host.last_delivery), default="")
    errors = dict.fromkeys(host.last_error for host in status.hosts if host.last_error)
    found = {
        "Events go to": to,
        "Last delivery": local(last) if last else "none that is known here",
        "Last error": "; ".join(errors),
        "Source ID": status.source or "none yet; the first event makes one",
        "Flower": f"{ended(status.flower.found)} {sentence(status.flower.advice)}",
    }
    told = (
        "The source ID is a random number. It stands for this home in what is sent, and no name does. Events "
        "of one source can be seen to belong together."
    )
    return _section(
        "destination", "Where do events go?", _pairs(found), element("p", prose(told), class_="soft")
    )


def _counts(page: Page) -> Html:
    totals = page.status.public()["totals"]
    rows = (
        [
            element("th", join([text(stage), element("small", meaning)]), scope="row"),
            *(
                element("td", str(totals[stage].get(unit, "-")), class_="number", id=f"{stage}-{unit}")
                for unit in ("events", "bodies", "bytes")
            ),
        ]
        for stage, meaning in _STAGES.items()
    )
    numbers = (element("th", name, scope="col", class_="number") for name in ("Events", "Requests", "Bytes"))
    counters = totals["counters"]
    hosts = sum(host.host != GONE_HOSTS for host in page.status.hosts)
    told = (
        f"Of {hosts} {'host' if hosts == 1 else 'hosts'}. Dropped at a cap of age or size: "
        f"{counters['dropped']}. Damaged: {counters['damaged']}. Refused by the collector: "
        f"{counters['rejected']}. Requests that had to be repeated: {counters['retried']}."
    )
    return _section(
        "counts",
        "How much is there?",
        _scrolling("Counts", table([element("th", "Stage", scope="col"), *numbers], rows), ""),
        element("p", prose(told), class_="soft"),
    )


def _workloads(page: Page) -> Html:
    found = page.timeline
    if not found.lanes:
        nothing = element("p", "No event is kept here, so there is no workload to show.")
        return _section("workloads", "Which workloads ran, and when?", nothing)
    count = sum(lane.workloads for lane in found.lanes)
    ran = f"{count} workload{'s' * (count != 1)} of Flower reported from here."
    if count > 1:
        ran += (
            f" At most {found.at_once} of them were seen at the same time."
            if found.at_once > 1
            else " No two of them were seen at the same time."
        )
    if found.folded_s:
        ran += f" They are too many for a lane each: all that began within {_span(found.folded_s)} share one."
    legend = element("ul", join(_legend()), class_="legend")
    caption = (
        "Each lane is one workload (one cluster ID), from its first to its last event. A shaded span is one "
        "request that carries events of several workloads. The times are those of this machine."
    )
    figure = element(
        "figure", join([drawing.picture(found), legend, element("figcaption", caption)]), class_="timeline"
    )
    rows = _scrolling("Workloads as a table", drawing.table(found.lanes))
    more = element("details", join([element("summary", "The same as a table"), rows]))
    return _section("workloads", "Which workloads ran, and when?", element("p", ran), figure, more)


def _legend() -> list[Html]:
    def key(shape: Html, meaning: str) -> Html:
        picture = element("svg", shape, class_="key", width="22", height="14", aria_hidden="true")
        return element("li", join([picture, text(meaning)]))

    def lane(state: str) -> Html:
        return element("line", "", x1="5", x2="17", y1="7", y2="7", class_=f"lane {state}")

    def square(kind: str) -> Html:
        return element("rect", "", x="6", y="2", width="10", height="10", class_=kind)

    burst = element("rect", "", x="2", y="2", width="18", height="10", class_="burst")
    return [
        *(key(lane(state), meaning) for state, meaning in drawing.STATES.items()),
        key(square("waits"), "waits for delivery"),
        key(square("refused"), "was refused"),
        key(burst, "several workloads in one request"),
    ]


def _bodies(page: Page) -> Html:
    title = "What was collected and sent, byte for byte?"
    if not page.bodies:
        return _section("bodies", title, element("p", "Nothing is kept here."))
    parts = [element("p", "Newest first. Open one to see exactly what its request holds.", class_="soft")]
    if "OTLP" in page.status.manner:
        told = (
            "They are kept in Flower's form, and sent as OTLP. "
            "`flwr-telemetry inspect --as otlp` shows each request byte for byte."
        )
        parts.append(element("p", prose(told)))
    if page.left_out:
        told = (
            f"Only the newest 2 MiB are shown here; {page.left_out} older ones are not. "
            "`flwr-telemetry inspect --json --with-meta` shows them all."
        )
        parts.append(element("p", prose(told)))
    parts += map(_problem, page.problems)
    return _section("bodies", title, *parts, *map(_body, page.bodies))


def _body(item: Item) -> Html:
    body = json.loads(item.raw)
    kind, events = str(body.get("event_type", "?")), f"{item.events} event{'s' * (item.events != 1)}"
    fate = {"spool": "waits in the spool", "outbox": "waits for delivery", "rejected": "refused"}.get(
        item.stage
    )
    known = {"Host": item.host, "Key": item.key or "", "Reason": item.reason or ""}
    if item.stage == "sent":
        receipt = item.receipt
        fate = "sent; there is no receipt"
        if receipt is not None:
            is_kept = receipt.to == NOWHERE
            fate = f"{'kept, never sent,' if is_kept else 'sent'} {local(receipt.at)}"
            status = f", answer {receipt.status}" if receipt.status is not None else ""
            known |= {"Sent": "never" if is_kept else f"{local(receipt.at)} to {receipt.to}{status}"}
    summary = join(
        [text(f"{local(date_of(body))} · "), element("strong", kind), text(f" · {events} · {fate}")]
    )
    raw = element("pre", element("code", item.raw.decode("utf-8", "replace")))
    return element("details", join([element("summary", summary), _pairs(known), raw]))


def _fields(page: Page) -> Html:
    rows = (
        [
            element("th", element("code", found.name), scope="row"),
            element("td", found.kind),
            element("td", _example(example)),
            element("td", prose(found.why)),
        ]
        for found, example in page.fields
    )
    heads = (element("th", name, scope="col") for name in ("Field", "Type", "Example", "Why"))
    told = (
        "No event that Flower reports from here has a field that is not in this list. The examples are from "
        "this machine."
    )
    title, shown = "Which fields can be sent, and why?", _scrolling("Fields", table(heads, rows))
    return _section("fields", title, element("p", prose(told)), shown)


def _example(example: Any) -> Html:
    if example is None:
        return text("not reported from here")
    return element("code", json.dumps(example))


def _deletion(page: Page) -> Html:
    title, request = "How do I have it deleted?", page.deletion
    here = (
        "On this machine: `flwr-telemetry forget` deletes everything that carries your source ID, and starts "
        "under a new one. `flwr-telemetry purge` removes all that was ever written here."
    )
    parts = [element("p", prose(here))]
    if request is None:
        nothing = element("p", "There is no source ID yet, so there is nothing to delete.")
        return _section("deletion", title, *parts, nothing)
    whole = f"To: {request.to}\nSubject: {request.subject}\n\n{request.body}"
    link = element("a", "Open this request", href=request.mailto)
    told = element("p", "At the collector: send this text. It names your source ID, and no name of yours.")
    return _section("deletion", title, *parts, told, element("pre", whole), element("p", link))


def _problem(problem: str) -> Html:
    return element("p", prose(f"Problem: {ended(problem)}"), class_="problem")


def _pairs(found: Mapping[str, str]) -> Html:
    rows = (
        join([element("dt", name), element("dd", prose(value))]) for name, value in found.items() if value
    )
    return element("dl", join(rows))


def _scrolling(name: str, content: Html, width: str = "wide") -> Html:
    """A table that scrolls by itself on a narrow screen; the keyboard reaches it."""
    return element("div", content, class_=f"table {width}", role="region", aria_label=name, tabindex="0")


def _span(seconds: int) -> str:
    words = {60: "a minute", 600: "ten minutes", 3600: "an hour", 86_400: "a day", 30 * 86_400: "30 days"}
    return words.get(seconds, "a year")
