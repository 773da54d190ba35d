"""The end of a process waits for the helper thread as long as that works, and not for one that is stuck."""

import threading
import time

from flwr_telemetry.helper_thread import HelperThread


def helper(left):
    """Give a helper for these steps, which takes each one out."""
    return HelperThread(lambda: bool(left), lambda: (left.pop(0)(), True)[1])


def test_the_end_waits_for_slow_answers():
    """All of them take longer than the end waits for one answer."""
    left = [lambda: [time.sleep(0.05) for _ in range(30)]] * 2
    assert not helper(left).finish(1, 60)
    assert not left


def test_the_end_gives_up_without_an_answer_and_after_a_while():
    answer = threading.Event()
    found = helper([answer.wait])
    assert found.finish(0.2, 60)
    assert found.finish(0, 0)
    answer.set()
    assert not found.finish(20, 60)
    left = [lambda: time.sleep(0.001)] * 10000
    assert helper(left).finish(60, 0.2)
    left.clear()
