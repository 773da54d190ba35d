"""The picture: each workload has its lane, and a burst shades the lanes of its workloads alone."""

import re

from flwr_telemetryd.inspect import drawing
from flwr_telemetryd.inspect.timeline import Burst, Lane, Timeline

S = 1_000_000


def lanes(*states, **more):
    known = {"open": (1, 0, 0), "ended": (1, 1, 0), "failed": (1, 1, 1), "seen": (0, 0, 0)}
    return [
        Lane(f"c{n}", n * S, (n + 5) * S, *known[state], events=2, kinds={"RUN": None}, **more)
        for n, state in enumerate(states)
    ]


def test_a_burst_shades_its_own_lanes_alone():
    some = lanes(*["ended"] * 6)
    timeline = Timeline(some, [Burst(0, 9 * S, ("c0", "c1", "c3", "c5"), 4)])
    form = r'<rect x="1.000%" width="[0-9.]+%" y="(\d+)" height="(\d+)"'
    found = [(int(y), int(height)) for y, height in re.findall(form, drawing.picture(timeline))]
    assert found == [(6, 68), (6 + 3 * 34, 34), (6 + 5 * 34, 34)]


def test_each_state_has_its_mark_and_its_words():
    some = lanes("ended", "failed", "open", "seen", waiting_us={S}, refused_us={2 * S, 3 * S})
    shown = drawing.picture(Timeline(some))
    assert re.findall(r'class="lane (\w+)"', shown) == ["ended", "failed", "open", "seen"]
    assert shown.count('class="rest"') == 1
    assert (shown.count('class="waits"'), shown.count('class="refused"')) == (4, 8)
    titles = re.findall(r"<title>(c\d[^<]*)</title>", shown)
    for title, state in zip(titles, drawing.STATES, strict=True):
        assert f"; {drawing.STATES[state]}, 1 wait, 2 refused; " in title


def test_all_at_one_moment_and_very_many():
    one = drawing.picture(Timeline([Lane("c", 7, 7, kinds={"PING": None})]))
    assert 'x1="50.000%" x2="50.000%"' in one
    many = drawing.picture(Timeline(lanes(*["ended"] * 500)))
    assert many.count("<title>") == 500
    assert "<text" not in many
