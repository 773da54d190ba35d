"""`flwr-telemetry fields` on a terminal that lacks characters; `tests/contract` has its content."""

from tests.support.processes import command


def test_a_terminal_that_knows_ascii_alone(home):
    """A character that the terminal lacks becomes a question mark."""
    done = command(home, "fields", env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "delay in ?s, and those details" in done.stdout
