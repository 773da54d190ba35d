"""The five READMEs, and the table in one of them that is made from the code.

``python -m tests.support.readme`` writes that table anew, and the JSON Schema of the same fields.
"""

from pathlib import Path

from flwr_telemetry.context import FIELDS
from tests.support import schema

ROOT = Path(__file__).resolve().parents[2]
FIRST = ROOT / "README.md"
EMITTER = ROOT / "emitter" / "README.md"
DAEMON = ROOT / "daemon" / "README.md"
SYSTEMD = ROOT / "systemd" / "README.md"
TESTS = ROOT / "tests" / "README.md"
ALL = (FIRST, EMITTER, DAEMON, SYSTEMD, TESTS)

_BEGIN = (
    "<!-- fields: made from emitter/flwr_telemetry/context.py by `python -m tests.support.readme`; "
    "a test holds the two together -->\n"
)
_END = "<!-- /fields -->"


def with_fields(text):
    """Give the emitter's README with the table of fields as the declaration has it."""
    rows = [f"| `{field.name}` | {field.kind} | {field.why} |" for field in FIELDS]
    table = "\n".join(["| field | type | why |", "| --- | --- | --- |", *rows])
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    assert begin
    assert end
    return f"{before}{begin}{table}\n{end}{after}"


if __name__ == "__main__":
    EMITTER.write_text(with_fields(EMITTER.read_text(encoding="utf-8")), encoding="utf-8")
    schema.SCHEMA.write_text(schema.text(), encoding="utf-8")
