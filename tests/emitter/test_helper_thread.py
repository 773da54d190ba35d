"""The end of a process waits for the helper thread as long as that works, and not for one that is stuck."""

import threading
import time

import pytest

from flwr_telemetry.helper_thread import HelperThread


@pytest.fixture
def helper():
    """Give a function that makes a helper for some steps, and the steps that are left."""
    left = []

    def made(steps):
        left[:] = steps

        def work():
            left.pop(0)()
            return True

        return HelperThread(lambda: bool(left), work), left

    return made


def test_the_end_waits_for_slow_answers(helper):
    """All of them take longer than the end waits for one answer."""
    found, left = helper([lambda: [time.sleep(0.05) for _ in range(30)]] * 2)
    assert not found.finish(1, 60)
    assert not left


def test_the_end_gives_up_without_an_answer_and_after_a_while(helper):
    answer = threading.Event()
    found, left = helper([answer.wait])
    assert found.finish(0.2, 60)
    assert found.finish(0, 0)
    answer.set()
    assert not found.finish(20, 60)
    found, left = helper([lambda: time.sleep(0.001)] * 10000)
    assert found.finish(60, 0.2)
    left.clear()
