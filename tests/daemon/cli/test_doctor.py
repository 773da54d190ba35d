"""`flwr-telemetry doctor` on a narrow terminal; `tests/daemon/admin/doctor` has the checks."""

import pytest

from tests.support import homes
from tests.support.processes import command


@pytest.mark.parametrize("width", ["20", "45"])
def test_the_doctor_is_legible_on_a_narrow_terminal(home, width):
    """The result of a check stands below its name, and is complete."""
    homes.configure(home, (home.parent / "bodies.jsonl").as_uri(), sidecar="never")
    env = {"COLUMNS": width, "LINES": "25", "FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "dumb"}
    told = command(home, "doctor", env=env).stdout
    assert max(map(len, told.splitlines())) <= int(width)
    assert "on: nothing says otherwise" in " ".join(told.split())
