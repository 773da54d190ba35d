"""The homes of a fleet: of which kinds they are, how often something happens in them, and what is left there.

The mixes are assumptions, chosen to differ in what matters after an outage: how many sidecars are alive and
wait for the collector, and how much of what they hold is above what they send anyway.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from flwr_telemetryd.runtime import Mode

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


@dataclass(frozen=True, slots=True)
class Kind:
    """Homes that are alike.

    Attributes:
        name: for the table.
        mode: how long their sidecars live.
        every_s: from one burst to the next, on average.
        bodies: that a burst comes to, however large it is: it enters and it leaves.
        in_phase: all bursts of this kind happen at once, at multiples of ``every_s``; else at random.
    """

    name: str
    mode: Mode
    every_s: float
    bodies: int = 2
    in_phase: bool = False


@dataclass(frozen=True, slots=True)
class Mix:
    """A fleet, as shares of kinds; they come to 1."""

    name: str
    shares: Sequence[tuple[float, Kind]]

    def counts(self, homes):
        """How many homes there are of each kind."""
        return [(round(share * homes), kind) for share, kind in self.shares]

    def requests_per_s(self, homes):
        """What a collector sees of the fleet on an ordinary day."""
        return sum(count * kind.bodies / kind.every_s for count, kind in self.counts(homes))


class Place:
    """One home, and the life of a sidecar in it; names as in ``sidecar/loop.py`` and its parts."""

    __slots__ = (
        "alive",
        "backoff",
        "barred_since",
        "busy_at",
        "cleared_at",
        "fails",
        "first_seen",
        "kind",
        "next_look",
        "not_before",
        "outbox",
        "outbox_since",
        "owed_from",
        "owes",
        "rests_until",
        "spooled_at",
        "started_at",
        "told_until",
        "tried_at",
    )

    def __init__(self, kind, backoff):
        self.kind = kind
        self.backoff = backoff
        self.alive = False
        self.outbox = 0
        self.spooled_at = None  # the oldest event that is in no batch
        self.first_seen = self.busy_at = 0.0
        self.next_look = math.inf
        self.told_until = self.not_before = self.rests_until = 0.0  # without and with what was added
        self.barred_since = math.inf
        self.fails = False  # or the life before did, to its end
        self.outbox_since = 0.0
        self.started_at = self.tried_at = -math.inf
        self.owes = False  # something lies here since before the recovery
        self.owed_from = self.cleared_at = math.inf

    def waits(self):
        """Whether anything is undelivered."""
        return self.outbox > 0 or self.spooled_at is not None


LAPTOP = Kind("laptop", Mode.ON_DEMAND, DAY_S / 4)
CI = Kind("CI machine", Mode.ON_DEMAND, HOUR_S / 2)
CLUSTER = Kind("cluster", Mode.SERVICE, HOUR_S / 12)
CALM_CLUSTER = Kind("calm cluster", Mode.SERVICE, HOUR_S)
USUAL_SHARES = {LAPTOP: 0.75, CI: 0.20, CLUSTER: 0.05}

USUAL = Mix("usual mix", [(share, kind) for kind, share in USUAL_SHARES.items()])
IN_PHASE = Mix(
    "usual mix, in phase",
    [(share, dataclasses.replace(kind, in_phase=kind is not LAPTOP)) for kind, share in USUAL_SHARES.items()],
)
LAPTOPS, CIS, CLUSTERS, CALM_CLUSTERS = (
    Mix(f"{kind.name}s alone", [(1.0, kind)]) for kind in (LAPTOP, CI, CLUSTER, CALM_CLUSTER)
)
