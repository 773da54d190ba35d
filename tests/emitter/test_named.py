"""Our ``NamedTuple`` behaves as that of ``typing``, which type checkers take it for."""

import copy
import pickle
import typing

import pytest

from flwr_telemetry.named import NamedTuple


class Ours(NamedTuple):
    x: int
    y: str = "why"


class Theirs(typing.NamedTuple):
    x: int
    y: str = "why"


class Below(Ours):
    __slots__ = ()


MADE = [((1,), {}), ((1, "b"), {}), ((), {"y": "b", "x": 1}), ((1,), {"y": "b"})]
REFUSED = [((), {}), ((1, 2, 3), {}), ((1,), {"x": 2}), ((1,), {"z": 2}), ((), {"y": 2})]


@pytest.mark.parametrize(("values", "named"), MADE)
def test_it_is_made_shown_and_changed_as_theirs(values, named):
    ours, theirs = Ours(*values, **named), Theirs(*values, **named)
    assert ours == theirs
    assert hash(ours) == hash(theirs)
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert ours._asdict() == theirs._asdict()
    assert ours._replace(y="c") == theirs._replace(y="c")
    assert (Ours._fields, Ours._field_defaults) == (Theirs._fields, Theirs._field_defaults)
    made = Below(*ours)
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert (type(other), other) == (Below, ours)


@pytest.mark.parametrize(("values", "named"), REFUSED)
@pytest.mark.parametrize("kind", [Ours, Theirs])
def test_wrong_fields_are_refused(kind, values, named):
    with pytest.raises(TypeError):
        kind(*values, **named)
