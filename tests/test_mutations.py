"""The list of mutations keeps up with the code, and its tests are there."""

import json

from tests.mutations import FIRST, ROOT, THEN


def test_every_mutation_finds_its_text():
    for line in (ROOT / "tests" / "mutations.jsonl").read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        assert one["text"] in (ROOT / one["path"]).read_text(encoding="utf-8"), one
        assert one["replacement"] != one["text"]


def test_the_tests_that_are_run_are_there():
    """A missing file ends pytest at once, as if a test had noticed the mutation."""
    assert [path for path in (*FIRST, *THEN) if not (ROOT / path).exists()] == []
