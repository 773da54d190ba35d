"""The names of events: all that Flower has, and nothing that could be mistaken."""

import ast
import sysconfig
from pathlib import Path

from flwr_telemetry.details import event_type_name
from flwr_telemetry.event_types import EventType


def flowers_own():
    source = Path(sysconfig.get_path("purelib"), "flwr", "supercore", "telemetry.py").read_text()
    (enum,) = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef) and node.name == "EventType"
    ]
    return {
        node.targets[0].id: node.value.value if isinstance(node.value, ast.Constant) else None
        for node in enum.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def test_every_member_of_the_installed_flower_is_there():
    theirs = flowers_own()
    assert len(theirs) > 20
    assert theirs.keys() <= EventType.__members__.keys()


def test_every_value_is_its_name():
    """As in Flower, so that either can be used as the plain string."""
    for name, member in EventType.__members__.items():
        assert (member.value, member, event_type_name(member)) == (name, name, name)
