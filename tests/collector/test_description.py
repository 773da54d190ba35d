"""The collector keeps what its own OpenAPI description says: schemathesis, from the package index."""

import subprocess
import sys

import pytest

from tests.support.receiving import Serving

pytestmark = [pytest.mark.heavy, pytest.mark.long]


def test_schemathesis(tmp_path):
    """Examples at every boundary of every field, and random ones, valid and not: no answer is undescribed.

    JSON Schema cannot say that the rows of a burst agree with its head, so a valid one may be refused.
    """
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    command = [python, "-m", "pip", "install", "-q", "schemathesis>=4,<5"]
    installed = subprocess.run(command, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"pip cannot get schemathesis: {installed.stderr.strip().splitlines()[-1]}")
    with Serving(tmp_path / "flwr.db", tmp_path) as running:
        options = ["--checks", "all", "--exclude-checks", "positive_data_acceptance", "--no-color"]
        options += ["--phases", "examples,coverage,fuzzing", "--max-examples", "25", "--seed", "1"]
        program = python.with_name("schemathesis")
        done = subprocess.run(
            [program, "run", f"{running.origin}/openapi.json", *options],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout
        assert "failed" not in running.printed()
