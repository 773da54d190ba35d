"""The deployment engine and the local simulation runtime, as Flower made them and under ours.

A SuperLink, two SuperNodes and all that they start, on loopback, by ``federation.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e import sides
from tests.e2e.federation import Federation, simulate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.sides import Side
    from tests.support.collector import Collector

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sides.RELEASE < (1, 27), reason="its commands are others; simulations are tried"),
]


def deploy(one: Side, isolation: str) -> None:
    """Run the app on a federation, and end that."""
    with Federation(one, isolation) as federation:
        run = federation.run(num_rounds=1)
    assert run.status == "finished:completed", run.output
    one.told.append(federation.return_codes())


@pytest.mark.parametrize("isolation", ["subprocess", "process"])
def test_every_event_of_a_deployment_arrives(
    tmp_path: Path, collector: Collector, record_property: Callable[[str, object], None], isolation: str
) -> None:
    """Each process of a federation reports through us alone, however the apps are started."""
    with sides.both(tmp_path, collector) as (theirs, ours):
        sides.at_once(lambda one: deploy(one, isolation), theirs, ours)
        record_property("table", sides.compare(theirs, ours, collector))


def test_every_event_of_flwr_run_arrives(
    tmp_path: Path, collector: Collector, record_property: Callable[[str, object], None]
) -> None:
    """`flwr run` starts a SuperLink, that a simulation, and that Ray: all report through us alone."""

    def run(one: Side) -> None:
        done = simulate(one)
        assert done.status == "finished:completed", done.output

    with sides.both(tmp_path, collector) as (theirs, ours):
        sides.at_once(run, theirs, ours)
        record_property("table", sides.compare(theirs, ours, collector))
