"""flwr-datasets reports with its own schema, and shares everything else with Flower."""

from pathlib import Path

import pytest

from tests.e2e import sides

pytestmark = pytest.mark.e2e

PARTITIONS = str(Path(__file__).with_name("partitions.py"))


def test_every_event_of_flwr_datasets_arrives(tmp_path, record_property):
    """Its context has `package` instead of `flower`, and no partner. With Flower it is one workload."""
    pytest.importorskip("flwr_datasets", reason="flwr-datasets comes with `python -m tests.e2e.releases`")
    found = sides.side_by_side(tmp_path, lambda one: one.complete(PARTITIONS, str(one.scratch)))
    record_property("table", found.table)
    contexts = [event["context"] for event in found.came]
    assert sum("package" in context for context in contexts) == 2
    assert sum("flower" in context for context in contexts) == 2
    assert len({context["cluster"] for context in contexts}) == 1
