"""A check has the verdict of the function that made it."""

import pytest

from flwr_telemetryd.admin.doctor import Check, Verdict, check


@pytest.mark.parametrize("make", [check.ok, check.note, check.fault, check.skipped])
def test_each_function_gives_its_verdict(make):
    advice = ["advice"] if make in (check.note, check.fault) else []
    assert make("name", "found", *advice) == Check("name", Verdict(make.__name__), "found", *advice)
