"""OTLP as a collector reads it, by the letter of its protocol; and what each event must become."""

import gzip
import json

from tests.support.wire import microseconds

_NOT_OF_THE_RESOURCE = ("cluster", "date")
_RESOURCE = {
    ("flower", "package_name"): "service.name",
    ("flower", "package_version"): "service.version",
    ("package", "package_name"): "service.name",
    ("package", "package_version"): "service.version",
    ("source",): "app.installation.id",
    ("partner",): "flower.partner.id",
    ("platform", "system"): "os.type",
    ("platform", "release"): "os.version",
    ("platform", "platform"): "os.description",
    ("platform", "version"): "os.build_id",
    ("platform", "machine"): "host.arch",
    ("platform", "python_implementation"): "process.runtime.name",
    ("platform", "python_version"): "process.runtime.version",
}
_CHANGED = {"Linux": "linux", "x86_64": "amd64", "CPython": "cpython"}


def value(found):
    """Give the value of an `AnyValue`."""
    if found in (None, {"bytesValue": ""}):  # null, as an attribute or in an array
        return None
    ((kind, inner),) = found.items()
    if kind == "intValue":
        assert type(inner) is str
        return int(inner)
    if kind == "arrayValue":
        return [value(item) for item in inner.get("values", [])]
    if kind == "kvlistValue":
        return attributes(inner.get("values", []))
    assert kind in ("stringValue", "boolValue", "doubleValue")
    return inner


def attributes(found):
    read = {item["key"]: value(item.get("value")) for item in found}
    assert len(read) == len(found), "a key stands twice"
    return read


def records(request):
    """Give the log records of a request: their fields, with the attributes and the resource as dicts."""
    return [
        {
            **record,
            "attributes": attributes(record["attributes"]),
            "resource": attributes(logs["resource"].get("attributes", [])),
        }
        for logs in json.loads(request)["resourceLogs"]
        for scope in logs["scopeLogs"]
        for record in scope["logRecords"]
    ]


def body_of(request):
    """Give the bytes of a request that a collector of ours heard, decompressed."""
    is_packed = request.headers.get("content-encoding") == "gzip"
    return gzip.decompress(request.body) if is_packed else request.body


def received(collector):
    """Give the records that a collector accepted."""
    return [
        record
        for request in collector.requests
        if request.key in collector.accepted
        for record in records(body_of(request))
    ]


def _text_of_big(item):
    if type(item) is int and not -(2**63) <= item < 2**63:
        return str(item)
    if isinstance(item, list):
        return [_text_of_big(inner) for inner in item]
    if isinstance(item, dict):
        return {name: _text_of_big(inner) for name, inner in item.items()}
    return item


def _leaves(context):
    for group, found in context.items():
        if group in _NOT_OF_THE_RESOURCE:
            continue
        if isinstance(found, dict):
            yield from (((group, name), inner) for name, inner in found.items())
        else:
            yield (group,), found


def expected(event):
    """Give the record that an event of the wire must become, without its uid."""
    details, context = event["event_details"], event["context"]
    code = details.get("exit_code")
    failed = type(code) is int and not 0 <= code <= 99
    is_error = failed or details.get("success") is False
    time_ns = microseconds(context["date"]) * 1000
    is_sane = 0 <= time_ns < 2**63
    named = {
        "flower.event.type": event["event_type"],
        "flower.cluster.id": context["cluster"],
        **{f"flower.event.details.{name}": _text_of_big(inner) for name, inner in details.items()},
    }
    if is_error:
        named["error.type"] = str(code) if failed else "_OTHER"
    if not is_sane:
        named["flower.event.date"] = context["date"]
    resource = {}
    for path, inner in _leaves(context):
        name = _RESOURCE.get(path, "flower." + ".".join(path))
        resource[name] = _CHANGED.get(inner, inner) if type(inner) is str else _text_of_big(inner)
    return {
        "timeUnixNano": str(time_ns if is_sane else 0),
        "observedTimeUnixNano": str(time_ns if is_sane else 0),
        "severityNumber": 17 if is_error else 9,
        "eventName": "flower." + event["event_type"].lower(),
        "attributes": named,
        "resource": resource,
    }


def without_own(record):
    """Give a record without its uid and the name of our distribution, to compare it with `expected`."""
    kept = {name: inner for name, inner in record.items() if name not in ("attributes", "resource")}
    named, resource = dict(record["attributes"]), dict(record["resource"])
    del named["log.record.uid"]
    assert resource.pop("telemetry.distro.name") == "flwr-telemetry"
    assert resource.pop("telemetry.distro.version")
    return {**kept, "attributes": named, "resource": resource}


def bag(found):
    """Give a sorted list of texts that tells 1, 1.0 and true apart."""
    return sorted(json.dumps(record, sort_keys=True) for record in found)
