"""What the programs of all contenders share: ``python by_….py ORIGIN CALLS [herd|many]``.

Each reports so many events to the collector at ORIGIN, sees to their delivery as its documentation says, and
prints in JSON how long each call took. With ``herd`` it says that it is there and waits for a line of input
before the calls that count. With ``many`` each two events come from a workload, that is a process, of their
own, forked from one that has imported but not reported; they report when all of them are there.

Imports nothing but the standard library: it runs in the environments of the peers.
"""

import json
import os
import sys
import time

DETAILS = {"backend": "ray", "num-supernodes": 10}


def main(begin):
    """``begin(origin)`` gives two functions: one reports, given details; one sees to the end."""
    origin, calls, *mode = sys.argv[1:]
    if mode == ["many"]:
        many(begin, origin, int(calls) // 2)
        return
    emit, end = begin(origin)
    if int(calls):
        emit(DETAILS)  # what a first call does is another figure
    if mode == ["herd"]:
        print("here", flush=True)
        sys.stdin.readline()
    times = timed(emit, int(calls) - 1)
    end()
    print(json.dumps({"calls_ns": times}), flush=True)


def timed(emit, calls):
    """Report so often; give how long each call took."""
    times = []
    clock = time.perf_counter_ns
    for number in range(calls):
        details = {**DETAILS, "round": number % 10}
        before = clock()
        emit(details)
        times.append(clock() - before)
    return times


def many(begin, origin, workloads):
    """Two events each by so many processes, which wait for each other."""
    waited_for, kept_open = os.pipe()
    for _ in range(workloads):
        if os.fork() == 0:
            os.close(kept_open)
            os.read(waited_for, 1)  # until nobody has the other end
            emit, end = begin(origin)
            run = {**DETAILS, "run-id-hash": os.urandom(32).hex()}
            emit(run)
            emit({**run, "success": True})
            end()
            os._exit(0)
    os.close(kept_open)
    for _ in range(workloads):
        os.wait()
    print(json.dumps({"calls_ns": []}), flush=True)
