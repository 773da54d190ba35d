"""``flwr-telemetry demo``: many small workloads, a receiver on loopback, and proof that all events arrive.

In:    the number of workloads.
Out:   a report: counts of events, requests and bytes, and the time that it took.
Owns:  a temporary home, which is deleted when the demo ends.
Never: touches the user's home, or sends beyond 127.0.0.1.
"""

__all__ = ["collector", "receiver", "run", "workload"]
