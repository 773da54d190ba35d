"""Settings that a machine cannot keep: all of them are found, and no other is dropped."""

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetryd.admin.service import protection
from flwr_telemetryd.admin.service.unit import ONCE, SERVICE, drop_in, sealed, shipped
from tests.support import homes
from tests.support.service import UNITS, install, status
from tests.support.strategies import tried

HARMLESS = {"AmbientCapabilities", "UMask", "SystemCallErrorNumber", "ReadWritePaths", "WantedBy"}
"""They switch nothing on that a machine could refuse, or the service cannot do without them."""


@pytest.mark.parametrize("name", [SERVICE, ONCE])
def test_each_restriction_of_a_unit_can_be_dropped(name):
    _, found, restrictions = shipped(name).partition("\n# --- Restrictions.")
    assert found
    names = {line.partition("=")[0] for line in restrictions.splitlines() if "=" in line and line[0] != "#"}
    assert names - HARMLESS <= protection._OFF.keys()


class _Pretended(protection._Trials):
    """Trials of a machine that refuses some settings, and one as long as another one is off."""

    bad, needing = frozenset(), ("", "")

    def failure(self, kept):
        name, other = self.needing
        fails = self.bad.intersection(kept) or (name in kept and other not in kept)
        return "226/NAMESPACE" if fails else ""


NAMES = [*protection._OFF]


@tried(100)
@given(st.sets(st.sampled_from(NAMES), max_size=6), st.sampled_from([*itertools.pairwise(NAMES)]))
def test_any_refused_settings_are_found(bad, needing):
    """A setting that needs a later one is kept, unless that one is refused."""
    name, other = needing
    if name in bad:
        return
    trials = _Pretended(None, Path(), {})
    trials.bad, trials.needing = frozenset(bad), needing
    trials.keep_all(NAMES)
    assert trials.refused.keys() == (bad | {name} if other in bad else bad)


def test_a_drop_in_is_read_back():
    refused = {"ProtectKernelTunables": "226/NAMESPACE: no", "CapabilityBoundingSet": "218/CAPABILITIES"}
    exposure = protection.Exposure(1.6, 2.4)
    text = sealed(protection.drop_in_text(refused, exposure))
    assert (protection.refused_in(text), protection.exposure_in(text)) == (refused, exposure)
    assert "\nCapabilityBoundingSet=~\n" in text
    assert protection.exposure_in(protection.drop_in_text(refused, None)) is None
    assert (protection.refused_in(None), protection.exposure_in(None)) == ({}, None)


@pytest.mark.heavy
@pytest.mark.parametrize("node", [{"user": "root", "user_id": 0}], indirect=True)
def test_a_manager_that_is_root_in_a_container(node):
    """It is in name spaces of its own, as in a container."""
    homes.configure(node.home / ".flwr", "file:///home/root/.flwr/telemetry/bodies.jsonl")
    done = node.command("service", "install", env={"COLUMNS": "300"})
    assert done.returncode == 0, done.stderr
    told = status(node)
    refused = told["refused"]
    assert (told["serves"], told["namespaces"]) == (True, True)
    assert "ProtectKernelTunables" in refused
    alone = ["systemd-run", "--user", "--wait", "--quiet", "--property=PrivateUsers=yes"]
    for name, reason in refused.items():
        assert reason.startswith("226/NAMESPACE")
        assert node.run([*alone, f"--property={name}=yes", "true"]).returncode == 226
    unit = (node.home / UNITS / SERVICE).read_text()  # without PrivateTmp if these tests run below /tmp
    switches = [name for name in protection._OFF if f"\n{name}=yes\n" in unit]
    assert node.properties(SERVICE, *switches) == {
        name: "no" if name in refused else "yes" for name in switches
    }
    assert told["exposure"]["now"] > told["exposure"]["with_all"]
    for shown in (done.stdout, node.command("service", "status", env={"COLUMNS": "300"}).stdout):
        assert "ProtectKernelTunables" in shown
        assert f"rates the exposure {told['exposure']['now']} of 10" in shown
    assert install(node)["written"] == []
    assert not node.exists(f"/run/user/0/systemd/user/{protection.PROBE}")
    gone = json.loads(node.command("service", "uninstall", "--json").stdout)
    assert gone["removed"] == [SERVICE, drop_in(SERVICE)]
    assert [*(node.home / UNITS).rglob("*")] == []
