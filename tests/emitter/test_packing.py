"""What we pack by ourselves is what msgpack packs, so a process may load msgpack at any time."""

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flwr_telemetry import packing
from tests.support.strategies import json_values, tried

EDGES = [0, 2**64 - 1]
for bits in (5, 7, 8, 15, 16, 31, 32, 63):
    EDGES += [number for more in (-1, 0, 1) for number in (2**bits + more, more - 2**bits)]
EDGES.remove(-(2**63) - 1)  # it has no form
SIZES = (0, 15, 16, 31, 32, 255, 256, 65_535, 65_536)
SIZED = [*("é" * (size // 2) for size in SIZES), *("x" * size for size in SIZES)]
SIZED += [*([None] * size for size in SIZES), *({str(n): n for n in range(size)} for size in SIZES)]


@tried(200)
@given(json_values() | st.sampled_from(EDGES) | st.floats(allow_nan=False))
@example([True, 1, 1.0, -0.0, None, False])
def test_the_bytes_are_those_of_msgpack(value):
    assert packing.packed(value) == msgpack.packb(value) == packing.packer()()(value)


def test_every_size_has_its_form():
    for value in (*EDGES, *SIZED):
        assert packing.packed(value) == msgpack.packb(value)


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "\ud800", ["\udfff"], {"a": 2**70}])
def test_what_has_no_form_is_refused_as_msgpack_refuses_it(value):
    """So are other types."""
    for pack in (packing.packed, packing.packer()()):
        with pytest.raises((OverflowError, UnicodeEncodeError)):
            pack(value)
    for other in (b"", (1,), {1}, object()):
        with pytest.raises(TypeError):
            packing.packed(other)
