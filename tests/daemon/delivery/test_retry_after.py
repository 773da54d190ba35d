"""A Retry-After that outlives a sidecar, with any content of its file and any clock."""

import os
from unittest import mock

import pytest

from flwr_telemetryd.delivery import retry_after
from tests.support import faults

NOW_S = 1_795_000_000.0


def told(host, text, at_s=NOW_S):
    host.not_before.write_bytes(text if isinstance(text, bytes) else text.encode())
    os.utime(host.not_before, (at_s, at_s))


def remaining_s(host):
    return retry_after.remaining_s(host, lambda: NOW_S)


@pytest.mark.parametrize(
    ("text", "age_s", "left_s"),
    [
        *(("60\n", age_s, left_s) for age_s, left_s in ((0, 60), (45, 15), (75, -15), (-45, 60))),
        *((text, 0, 86_400) for text in ("1e9", "inf")),
        ("1e400", 100_000, 86_400 - 100_000),
    ],
)
def test_the_wait_shrinks_with_time_and_never_exceeds_a_day(host, text, age_s, left_s):
    told(host, text, NOW_S - age_s)
    assert remaining_s(host) == left_s


@pytest.mark.parametrize(
    "data", [b"", b"soon", b"nan", b"-nan", b"-1", b"-inf", b"0", b"\0", b"6 0", b"\xff\xfe6"]
)
def test_an_invalid_file_is_no_wait(host, data):
    told(host, data)
    assert remaining_s(host) <= 0


def test_a_new_wait_is_left_in_full_and_starts_again_after_a_clock_was_set_back(host):
    """A link in the place of the file is not followed."""
    retry_after.keep(host, 12.5)
    written = host.not_before.stat().st_mtime
    assert retry_after.remaining_s(host, lambda: written) == 12.5
    for _ in range(2):
        retry_after.forget(host)
        assert remaining_s(host) == 0
    told(host, "60\n", NOW_S * 2)
    retry_after.repair(host, lambda: NOW_S)
    stamped = host.not_before.stat().st_mtime
    assert stamped < NOW_S * 2
    assert retry_after.remaining_s(host, lambda: stamped + 61) < 0
    told(host, "60\n", NOW_S - 30)
    retry_after.repair(host, lambda: NOW_S)
    assert remaining_s(host) == 30
    target = host.not_before.rename(host.root / "precious")
    os.utime(target, (NOW_S * 2, NOW_S * 2))
    host.not_before.symlink_to(target)
    os.utime(host.not_before, (NOW_S * 2, NOW_S * 2), follow_symlinks=False)
    retry_after.repair(host, lambda: NOW_S)
    assert target.stat().st_mtime == NOW_S * 2


def test_without_the_time_the_whole_wait_is_left(host):
    """A full disk must not shorten a wait."""
    told(host, "60\n")
    now = mock.Mock(side_effect=OSError(28, "No space left on device"))
    before = faults.descriptors()
    retry_after.repair(host, now)
    assert retry_after.remaining_s(host, now) == 60
    assert faults.descriptors() == before
