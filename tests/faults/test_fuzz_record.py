"""The fuzz target's promises, held for inputs that are the same every time."""

from hypothesis import given
from hypothesis import strategies as st

from tests.faults import fuzz_record
from tests.support import strategies


@strategies.tried(500)
@given(st.binary(max_size=400))
def test_whatever_lies_in_a_segment(data):
    """Every byte is given back once, every intact record is found, and chunks change nothing."""
    fuzz_record.check(data)


@strategies.tried(200)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 900)), max_size=30))
def test_records_torn_bent_and_whole(steps):
    """Most steps lay something that is or was a record, which random bytes seldom do."""
    fuzz_record.check(b"".join(number.to_bytes(2) for step in steps for number in step))
