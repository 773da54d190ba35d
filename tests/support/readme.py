"""The five READMEs, and the tables in two of them that are made from the code.

``python -m tests.support.readme`` writes these tables anew, and the JSON Schema of the same fields.
"""

from pathlib import Path

from flwr_telemetry.context import FIELDS
from flwr_telemetryd.delivery.otlp import MAPPING
from tests.support import schema

ROOT = Path(__file__).resolve().parents[2]
FIRST = ROOT / "README.md"
EMITTER = ROOT / "emitter" / "README.md"
DAEMON = ROOT / "daemon" / "README.md"
SYSTEMD = ROOT / "systemd" / "README.md"
TESTS = ROOT / "tests" / "README.md"
ALL = (FIRST, EMITTER, DAEMON, SYSTEMD, TESTS)

_BEGIN = "<!-- {}: made from {} by `python -m tests.support.readme`; a test holds the two together -->\n"


def with_fields(text):
    """Give the emitter's README with the table of fields as the declaration has it."""
    rows = [f"| `{field.name}` | {field.kind} | {field.why} |" for field in FIELDS]
    head = ["| field | type | why |", "| --- | --- | --- |"]
    return _with(text, "fields", "emitter/flwr_telemetry/context.py", [*head, *rows])


def with_mapping(text):
    """Give the operators' README with the table of OTLP as `render` has it."""
    rows = [
        f"| `{row.name}` | {row.place} | {f'`{row.field}`' if row.field else ''} | {row.note} |"
        for row in MAPPING
    ]
    head = ["| OTLP | where | Flower's form | value |", "| --- | --- | --- | --- |"]
    return _with(text, "mapping", "daemon/flwr_telemetryd/delivery/otlp.py", [*head, *rows])


def _with(text, name, source, lines):
    begin, end = _BEGIN.format(name, source), f"<!-- /{name} -->"
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    assert found_begin
    assert found_end
    return "\n".join([f"{before}{begin}{lines[0]}", *lines[1:], f"{end}{after}"])


if __name__ == "__main__":
    EMITTER.write_text(with_fields(EMITTER.read_text(encoding="utf-8")), encoding="utf-8")
    SYSTEMD.write_text(with_mapping(SYSTEMD.read_text(encoding="utf-8")), encoding="utf-8")
    schema.SCHEMA.write_text(schema.text(), encoding="utf-8")
