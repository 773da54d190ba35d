"""CPython before 3.14 never leaves a `try` that stands late in a long function, if memory runs out there."""

import dis
import sys

import pytest

from flwr_telemetry import emit
from flwr_telemetry.emitter import Emitter
from flwr_telemetry.spool.posix import Writer

_UNIT_BYTES = 2
_LARGEST_KEPT = 256
"""Python keeps the objects of the numbers up to this one, and needs memory for each larger one."""

FUNCTIONS = [emit.event, emit._report, Emitter.emit, Emitter._emit_alone, Emitter._emit, Emitter._take]
FUNCTIONS += [Emitter._pack, Writer.append, Writer._append, Writer._is_kept, Writer._is_written]


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="it needs no memory there")
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__qualname__)
def test_the_way_of_an_event_has_no_try_late_in_a_function(function):
    """The interpreter notes the place of the instruction, and begins again without an end if it cannot."""
    for entry in dis._parse_exception_table(function.__code__):
        assert not entry.lasti or entry.end // _UNIT_BYTES <= _LARGEST_KEPT + 1
