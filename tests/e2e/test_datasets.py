"""flwr-datasets reports in a schema of its own, and shares everything else with Flower."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e import sides

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.sides import Side
    from tests.support.collector import Collector

pytestmark = pytest.mark.e2e

PARTITIONS = str(Path(__file__).with_name("partitions.py"))


def test_every_event_of_flwr_datasets_arrives(
    tmp_path: Path, collector: Collector, record_property: Callable[[str, object], None]
) -> None:
    """It says `package` in place of `flower` and no partner; beside Flower it is one workload with it."""
    pytest.importorskip("flwr_datasets", reason="flwr-datasets comes with `python -m tests.e2e.releases`")

    def partition(one: Side) -> None:
        status, printed = one.run(PARTITIONS, str(one.scratch))
        assert status == 0, printed

    with sides.both(tmp_path, collector) as (theirs, ours):
        sides.at_once(partition, theirs, ours)
        record_property("table", sides.compare(theirs, ours, collector))
    contexts = [event["context"] for event in collector.events()]
    assert sum("package" in context for context in contexts) == 2
    assert sum("flower" in context for context in contexts) == 2
    assert len({context["cluster"] for context in contexts}) == 1
