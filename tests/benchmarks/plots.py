"""The figures as pictures: how cost grows, and ourselves among the peers."""

import statistics

from tests.benchmarks.figures import number

COST, PEERS = "cost.svg", "peers.svg"
_OURS, _OTHERS, _FLOOR = "#d55e00", "#999999", "#0072b2"  # told apart by everybody
_BARS = (  # row, unit, title; what Flower's users and the other peers' have in common
    ("steady", "µs", "a call, µs (median)"),
    ("cpu", "ms", "processor time per event until delivered, ms"),
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
    bars = [(title, found) for row, unit, title in _BARS if (found := _by_peer(figures, row, unit))]
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


def _by_peer(figures, row, unit):
    """The medians by contender, ourselves first."""
    found = {}
    for figure in figures:
        is_peer = figure.beside[:1] != "-" and any(letter.isdigit() for letter in figure.beside)
        if figure.row == row and figure.unit == unit and is_peer and figure.theirs:
            found.setdefault("flwr-telemetry", statistics.median(figure.ours))
            found[figure.beside] = statistics.median(figure.theirs)
    return found


def _peers(all_axes, bars):
    """Bars on a logarithmic scale, each with its number."""
    for axes, (title, found) in zip(all_axes, bars, strict=True):
        names = list(found)[::-1]
        values = [found[name] for name in names]
        colours = [_OURS if name == "flwr-telemetry" else _OTHERS for name in names]
        drawn = axes.barh(names, values, color=colours)
        axes.bar_label(drawn, labels=[number(value) for value in values], padding=3)
        axes.set(xscale="log", title=title)
        axes.margins(x=0.15)
        axes.spines[["top", "right"]].set_visible(False)
