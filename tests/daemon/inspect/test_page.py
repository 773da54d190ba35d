"""The page: it shows what is there, and nothing that is in an event can become markup."""

import base64
import dataclasses
import hashlib
import itertools
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetry.layout import Home
from flwr_telemetry.record import to_wire
from flwr_telemetryd.burst import codec
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.inspect import deletion_request, markup, page
from flwr_telemetryd.inspect.follow import Item
from flwr_telemetryd.inspect.timeline import Builder
from flwr_telemetryd.outbox.archive import Receipt
from tests.support import homes, records, strategies
from tests.support.strategies import tried

TAGS = """
a body caption code dd details div dl dt figcaption figure footer g h1 h2 head header html li line main meta p
pre rect section small span strong style summary svg table tbody td text th thead title tr ul
""".split()
ATTRIBUTES = """
aria-hidden aria-label aria-labelledby charset class content height href http-equiv id lang name role scope
tabindex transform width x x1 x2 y y1 y2
""".split()


class Reader(HTMLParser):
    """Reads the page as a browser does; keeps its tags, its attributes, and the texts by tag."""

    def __init__(self, data):
        super().__init__()
        self.tags, self.attributes, self.texts, self._open = [], [], {}, []
        self.feed(data.decode())
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.texts.setdefault(tag, []).append("")
        if tag != "meta":
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        for tag in set(self._open):
            self.texts[tag][-1] += data


def read(home):
    return page.read_page(Home(home), {}, Clock())


def rendered(found, *items, **changes):
    """Give the page that shows these items, read as a browser reads it."""
    builder = Builder()
    for item in items:
        builder.add(item.stage, json.loads(item.raw))
    deletion = deletion_request.DeletionRequest("a@b", "s", "text", "mailto:a@b?subject=s")
    changes = {"deletion": deletion, "bodies": [*items], "timeline": builder.timeline(), **changes}
    return Reader(page.render(dataclasses.replace(found, **changes)))


def item(stage="spool", *, details=None, receipt=None, reason=None, host="h", **fields):
    raw = codec.dumps(to_wire(records.sample(details, **fields))).encode()
    return Item(stage, raw, 1, host, "k", receipt, reason)


def test_the_page_loads_nothing_and_names_its_only_style(home):
    data = page.render(read(home))
    style = re.search(rb"<style>(.*)</style>", data, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'".encode() in data
    assert not re.search(rb"(?i)<script|javascript:|url\(|@import|src=|<link|<iframe|style=|\son\w+=", data)
    assert not home.exists()


def test_it_shows_what_became_of_each_body(home):
    receipt = Receipt("k", "2026-11-22T10:00:00+00:00", 202, "https://collector.example/v1")
    shown = rendered(
        read(home),
        item("sent", receipt=receipt),
        item("sent"),
        item("rejected", reason="the collector answered 422: no"),
        item("outbox"),
    )
    known = " ".join(shown.texts["dd"])
    assert "https://collector.example/v1, answer 202" in known
    assert "the collector answered 422: no" in known
    fates = [text.rpartition(" · ")[2] for text in shown.texts["summary"][1:]]
    assert fates[0].startswith("sent 2026-11-22 ")
    assert fates[1:] == ["sent; there is no receipt", "refused", "waits for delivery"]


def test_without_anything_it_says_so_and_an_address_is_shown_without_its_secrets(home):
    shown = rendered(read(home), deletion=None)
    assert not {"svg", "details", "pre"} & set(shown.tags)
    assert "no source ID" in " ".join(shown.texts["p"])
    homes.write_settings(home, 'url = "https://collector.example/v1?token=secret"')
    data = page.render(read(home))
    assert (b"https://collector.example/v1<" in data, b"secret" in data) == (True, False)


HOSTILE = ["</title><script>alert(1)</script>", '" onload="x', "' onload='x", "</code></pre><img src=x>"]
HOSTILE += ["&lt;script&gt;", "<!--", "]]>", "`<b>`", "$body ${style} $$", "\ud800\x00\u202e\ufffe"]


@pytest.fixture(scope="module")
def nothing(tmp_path_factory):
    return read(tmp_path_factory.mktemp("nothing") / ".flwr")


@tried(150)
@given(st.lists(st.text(max_size=30) | st.sampled_from(HOSTILE), min_size=1), strategies.dates_us)
def test_nothing_in_an_event_or_a_home_becomes_markup(nothing, words, date_us):
    words = itertools.cycle(words)
    receipt = Receipt(next(words), next(words), 200, next(words))

    def some(stage, **more):
        details = {next(words): next(words), "nested": {next(words): [next(words)]}}
        texts = {"event_type": next(words), "cluster": next(words), "host": next(words)}
        return item(stage, details=details, **texts, **more)

    items = (
        some("sent", receipt=receipt),
        some("rejected", reason=next(words)),
        some("spool", date_us=date_us),
    )
    shown = rendered(nothing, *items, problems=[next(words)], since=next(words))
    assert set(shown.tags) <= set(TAGS)
    assert {name for name, _ in shown.attributes} <= set(ATTRIBUTES)
    assert [value for name, value in shown.attributes if name == "href"] == ["mailto:a@b?subject=s"]
    bodies = [text for text in shown.texts["pre"] if text.startswith("{")]
    assert bodies == [each.raw.decode() for each in items]


@tried(300)
@given(st.text())
def test_text_stays_text(text):
    shown = Reader(markup.element("p", text, title=text).encode())
    expected = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
    assert shown.texts == {"p": [expected]}
    assert shown.attributes == [("title", expected)]
    (prose,) = Reader(b"<p>" + markup.prose(text).encode() + b"</p>").texts["p"]
    assert prose.replace("`", "") == expected.replace("`", "")


def test_the_newest_bodies_are_shown_and_the_rest_is_counted(home, monkeypatch):
    monkeypatch.setattr(page, "MOST_BODY_BYTES", 2000)
    now_us = 1_795_000_000_000_000
    homes.put(home, [records.sample({"n": n}, date_us=now_us + n) for n in range(9)])
    found = read(home)
    numbers = [json.loads(each.raw)["event_details"]["n"] for each in found.bodies]
    assert numbers == list(range(8, 8 - len(numbers), -1))
    assert 0 < len(numbers) < 9
    assert found.left_out == 9 - len(numbers)
    assert sum(lane.events for lane in found.timeline.lanes) == 9
    assert f"{found.left_out} older ones" in page.render(found).decode()
    later = page.read_page(Home(home), {}, Clock(), since=("then", now_us + 7))
    assert (len(later.bodies), later.left_out) == (2, 0)
