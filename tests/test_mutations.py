"""The list of mutations keeps up with the code."""

import json

from tests.mutations import ROOT


def test_every_mutation_finds_its_text():
    for line in (ROOT / "tests" / "mutations.jsonl").read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        assert one["text"] in (ROOT / one["path"]).read_text(encoding="utf-8"), one
        assert one["replacement"] != one["text"]
