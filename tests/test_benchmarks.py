"""The benchmarks compute and write their figures correctly; the figures themselves are not tested."""

import json
from dataclasses import replace

import pytest

from tests.benchmarks import plots, report
from tests.benchmarks.figures import Figure, Spread, Target

AT_MOST_HALF = Target("≤ 1/2", "ratio", at_most=0.5)


def figure(ours, theirs, target=None):
    return Figure("row", "what", "peer", "ms", ours, theirs, target)


def test_a_ratio_is_that_of_each_round_and_a_spread_that_of_all():
    """The rounds alternate, so that a slow moment of the machine slows both."""
    assert figure((1.0, 20.0), (2.0, 40.0)).ratios == (0.5, 0.5)
    assert figure((1.0, 3.0, 5.0), (6.0,)).ratios == (0.5,)
    assert figure((1.0,), ()).ratios == ()

    # Some rows have only one round.
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0, 3.0, 3.0, 1)
    assert Spread.of([1.0, 2.0, 3.0, 4.0, 5.0]) == Spread(3.0, 2.0, 4.0, 1.0, 5.0, 5)


@pytest.mark.parametrize(("theirs", "reached"), [((2.0,), True), ((1.5,), False), ((), None)])
def test_a_target_is_held_against_the_median(theirs, *, reached):
    """A missing peer is neither a success nor a failure."""
    assert figure((1.0,), theirs, AT_MOST_HALF).is_reached is reached
    assert figure((1.0,), theirs).is_reached is None


MACHINE = dict.fromkeys("cpu cores memory_gib kernel python file_system date".split(), "something")
RUN = report.Run(
    MACHINE,
    ["a peer"],
    [figure((1.0,), (400.0,), AT_MOST_HALF), figure((1.0, 2.0), (4.0, 4.0))],
    {"other": "why"},
    quick=True,
)


def test_a_run_is_written_whole(tmp_path):
    """The files hold every figure; the summary holds those with a target."""
    report.write(RUN, tmp_path)
    told = json.loads((tmp_path / "benchmarks.json").read_text())
    assert [one["reached"] for one in told["figures"]] == [True, None]
    assert told["figures"][1]["ratio"]["values"] == [0.25, 0.5]
    whole, summary = (tmp_path / f"{name}.md" for name in ("benchmarks", "summary"))
    assert whole.read_text().count("| row |") == 3
    assert summary.read_text().count("| row |") == 2
    assert "| 1/400 | ≤ 1/2 | yes |" in summary.read_text()
    assert "`other` could not be measured: why" in whole.read_text()


def test_a_missed_target_has_its_reason_and_a_cheaper_peer_is_named():
    missed = replace(figure((4.0,), (2.0,), AT_MOST_HALF), why="Because.")
    text = report.markdown(replace(RUN, peers=["peer"], figures=[missed]))
    assert "`row`, what: 2.00 times beside peer, to reach ≤ 1/2. Because." in text
    assert text.count("A peer is cheaper here:") == 1
    assert "why:" not in report.markdown(RUN)


def test_a_published_table_takes_the_place_of_the_last(tmp_path):
    """The text outside the markers stays."""
    page = tmp_path / "README.md"
    page.write_text((report.HERE / "README.md").read_text())
    for _ in range(2):
        report.publish(RUN, tmp_path, tmp_path)
    assert page.read_text().count("| row | what | 1.00 ms |") == 1
    assert page.read_text().startswith("# What it costs")
    assert page.read_text().endswith("(fleet.svg)\n")


def test_a_crossing_lies_where_the_lines_of_the_plot_meet():
    """Lines that meet between two sizes, lines that never meet, and a peer that lacks sizes."""
    ours = {1: 100.0, 100: 100.0, 1000: 200.0}
    assert plots.crossing(ours, {1: 10.0, 100: 1000.0}) == pytest.approx(10)
    assert plots.crossing(ours, {1: 10.0, 100: 20.0, 1000: 30.0}) is None
    assert plots.crossing(ours, {1: 10.0}) is None
