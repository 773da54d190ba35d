"""Values and events for property tests, and how hard a property is tried."""

import msgpack
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.support import records

MIN_DATE_US, MAX_DATE_US = -62_135_596_800_000_000, 253_402_300_799_999_999


def tried(examples=100):
    """Give the settings of a property: the same examples every time, nothing kept, no clock."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def words(**options):
    return st.text(st.characters(exclude_categories=["Cs"]), **{"max_size": 10, **options})


# What Python takes for equal and msgpack does not comes often.
lookalikes = st.sampled_from(
    [0, 0.0, -0.0, False, 1, 1.0, True, "", "0", "1", None, [], {}, [1], [1.0], [True]]
)
numbers = (
    st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([-(2**63), 2**63, 2**64 - 1])
    | st.floats(allow_nan=False, allow_infinity=False)
)


def json_values(text=None, leaves=6):
    """Give everything that JSON and msgpack can both say."""
    text = words() if text is None else text
    plain = lookalikes | st.none() | st.booleans() | numbers | text
    return st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
        max_leaves=leaves,
    )


def details(text=None):
    return st.dictionaries(words() if text is None else text, json_values(text), max_size=4)


dates_us = st.integers(MIN_DATE_US, MAX_DATE_US) | st.integers(0, 20)

events = st.builds(
    records.sample,
    details(),
    event_type=st.sampled_from(["PING", "START_SERVER_ENTER"]),
    cluster=words(),
    date_us=dates_us,
    hw=st.sampled_from([{"cpu_count": 8}, {"cpu_count": 8.0}, {}]),
)
events = events | events.map(records.of_datasets)


def packed(value):
    """Give the bytes by which values are compared, since 1 == True == 1.0."""
    return bytes(msgpack.packb(value))
