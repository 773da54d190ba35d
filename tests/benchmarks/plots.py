"""The figures as pictures: how cost grows, and ourselves among the peers."""

import itertools
import math
import statistics

from tests.benchmarks.figures import number

COST, LONE, PEERS = "cost.svg", "lone.svg", "peers.svg"
_LINES = ("#0072b2", "#56b4e9", "#009e73", "#cc79a7", "#e69f00", "#000000", "#999999")
_US = "flwr-telemetry"
_OURS, _OTHERS, _FLOOR = "#d55e00", "#999999", "#0072b2"  # told apart by everybody
_BARS = (  # row, size, title; what Flower's users and the other peers' have in common
    ("steady", 0, "a call, µs (median)"),
    ("lone", 2, "processor time of 2 events, ms"),
    ("lone", 1000, "processor time of 1000 events, ms"),
)


def draw(figures, directory):
    """Draw what there are figures for; nothing without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError:
        print("no plots: pip install 'flwr-telemetry[bench]'")
        return
    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "flwr-telemetry", "svg.fonttype": "none", "font.size": 9})
    grown = [figure for figure in figures if figure.row == "scale" and figure.size]
    if grown:
        _save(directory / COST, (6, 4), 1, lambda axes: _cost(axes[0], grown))
    lone = _over_events(figures)
    if lone:
        _save(directory / LONE, (6, 4.5), 1, lambda axes: _lone(axes[0], lone))
    bars = [(title, found) for row, size, title in _BARS if (found := _by_peer(figures, row, size))]
    if bars:
        _save(directory / PEERS, (6, 2.6 * len(bars)), len(bars), lambda axes: _peers(axes, bars))


def _save(path, size, rows, fill):
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(rows, 1, figsize=size, layout="constrained", squeeze=False)
    fill(axes[:, 0])
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _cost(axes, figures):
    """Seconds over events, both on logarithmic scales: what is linear is a straight line of slope one."""
    sizes = [figure.size for figure in figures]
    for name, colour, values in (
        ("flwr-telemetryd --once", _OURS, [figure.ours for figure in figures]),
        ("msgpack decoding alone", _FLOOR, [figure.theirs for figure in figures]),
    ):
        seconds = [size * statistics.median(one) / 1e6 for size, one in zip(sizes, values, strict=True)]
        label = f"{name}: {number(1e6 * seconds[-1] / sizes[-1])} µs an event"
        axes.loglog(sizes, seconds, marker="o", color=colour, label=label)
    axes.set(xlabel="events in the spool", ylabel="processor time, s, beyond that of one workload")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(loc="upper left", frameon=False)


def _over_events(figures):
    """By contender, the medians over the number of events."""
    found = {}
    for figure in figures:
        if figure.row == "lone" and figure.size and figure.theirs:
            for name, values in ((_US, figure.ours), (figure.beside, figure.theirs)):
                found.setdefault(name, {})[figure.size] = statistics.median(values)
    return {name: dict(sorted(points.items())) for name, points in found.items()}


def crossing(ours, theirs):
    """The number of events from which on ours costs less, read off the logarithmic plot; None if none."""
    sizes = [size for size in ours if size in theirs]
    for low, high in itertools.pairwise(sizes):
        before, after = (math.log(ours[size] / theirs[size]) for size in (low, high))
        if before > 0 >= after:
            return low * (high / low) ** (before / (before - after))
    return None


def _lone(axes, lone):
    """Processor time over events, ours and each peer's; a ring marks where two lines cross."""
    from numpy import interp

    ours = lone[_US]
    colours = dict(zip((name for name in lone if name != _US), itertools.cycle(_LINES), strict=False))
    for name, points in lone.items():
        colour, width = (_OURS, 2.5) if name == _US else (colours[name], 1.2)
        axes.loglog([*points], [*points.values()], marker=".", color=colour, linewidth=width, label=name)
        at = None if name == _US else crossing(ours, points)
        if at is not None:
            sizes, times = ([math.log(each) for each in of] for of in (ours, ours.values()))
            height = math.exp(interp(math.log(at), sizes, times))
            axes.plot([at], [height], "o", color=colour, fillstyle="none", markersize=11)
            axes.annotate(f"{at:.0f}", (at, height), (6, -12), textcoords="offset points", color=colour)
    axes.set(xlabel="events of one process", ylabel="processor time until delivered, ms")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(loc="upper left", frameon=False, fontsize=8)


def _by_peer(figures, row, size):
    """The medians by contender, ourselves first."""
    found = {}
    for figure in figures:
        is_peer = figure.beside[:1] != "-" and any(letter.isdigit() for letter in figure.beside)
        if figure.row == row and figure.size == size and is_peer and figure.theirs:
            found.setdefault(_US, statistics.median(figure.ours))
            found[figure.beside] = statistics.median(figure.theirs)
    return found


def _peers(all_axes, bars):
    """Bars on a logarithmic scale, each with its number."""
    for axes, (title, found) in zip(all_axes, bars, strict=True):
        names = list(found)[::-1]
        values = [found[name] for name in names]
        colours = [_OURS if name == _US else _OTHERS for name in names]
        drawn = axes.barh(names, values, color=colours)
        axes.bar_label(drawn, labels=[number(value) for value in values], padding=3)
        axes.set(xscale="log", title=title)
        axes.minorticks_off()
        axes.margins(x=0.15)
        axes.spines[["top", "right"]].set_visible(False)
