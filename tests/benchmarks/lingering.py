"""How long a sidecar on demand should linger: ``python -m tests.benchmarks.lingering``.

The traces are those of the fleet: its kinds of homes, with their mean times between two runs. A run has two
events, at its start and at its end. The times of runs are an assumption: their median is ten minutes. Each
policy is what a sidecar waits for after its last work before it ends.
"""

import random

from tests.benchmarks.fleet_simulation import CI, HOUR_S, LAPTOP

DAY_S, DAYS, SIGMA, MEDIAN_S = 24 * HOUR_S, 2000, 1.2, 600.0
START_MS, REST_MS_PER_HOUR, MEMORY_MIB = 120.0, 75.0, 14.0  # the rows `lone` and `idle`
POLICIES = {"nothing": 0.0, "5 s": 5.0, "60 s": 60.0, "600 s": 600.0, "its writers, then 60 s": None}


def lives(runs, lingers_s):
    """The number of sidecars and the seconds that they live, for runs (begin, end) in order."""
    after_s = 60.0 if lingers_s is None else lingers_s
    spans = []
    for begin, end in runs:
        spans += (
            [(begin, end + after_s)]
            if lingers_s is None
            else [(begin, begin + after_s), (end, end + after_s)]
        )
    count, lived_s, until = 0, 0.0, -1.0
    for begin, end in sorted(spans):
        count += begin > until
        lived_s += max(0.0, end - max(begin, until))
        until = max(until, end)
    return count, lived_s


def main():
    print("home, waits for: sidecars a day, processor time a day, present for, memory over the day")
    for name, every_s in (("laptop", LAPTOP.every_s), ("CI machine", CI.every_s)):
        chance, now, runs = random.Random(1), 0.0, []
        while (now := now + chance.expovariate(1 / every_s)) < DAYS * DAY_S:
            runs.append((now, now + MEDIAN_S * chance.lognormvariate(0, SIGMA)))
        for policy, lingers_s in POLICIES.items():
            count, lived_s = (found / DAYS for found in lives(runs, lingers_s))
            busy_s = (count * START_MS + lived_s / HOUR_S * REST_MS_PER_HOUR) / 1e3
            share = lived_s / DAY_S
            print(f"{name}, {policy}: {count:.1f}, {busy_s:.2f} s, {share:.1%}, {share * MEMORY_MIB:.2f} MiB")


if __name__ == "__main__":
    main()
