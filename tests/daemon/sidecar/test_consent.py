"""The consent gate."""

import os

import pytest

from flwr_telemetry.layout import Home
from flwr_telemetryd.errors import ExitCode
from flwr_telemetryd.sidecar.consent import ConsentGate
from tests.support import homes, processes, records
from tests.support.collector import Answer


@pytest.mark.parametrize("status", [503, 422])
def test_after_an_opt_out_during_a_request_nothing_is_written(home, collector, status):
    homes.configure(home, collector.url)
    homes.put(home, records.series(2))

    def switch_off_and_refuse(_request):
        homes.write_settings(home, "enabled = false\n")
        return Answer(status, {"Retry-After": "3600"})

    collector.answer_by(switch_off_and_refuse)
    before = set(homes.tree(homes.host(home)))
    assert processes.run(home, ["-m", "flwr_telemetryd"]).returncode == ExitCode.DISABLED
    assert len(collector.requests) == 1
    new = set(homes.tree(homes.host(home))) - before
    assert new <= {"sidecar.lock", "sidecar.log", "sidecar.json"}
    assert homes.unsent_files(home) == []


@pytest.mark.parametrize("is_site", [False, True])
def test_a_no_in_place_is_seen_at_the_next_check(home, tmp_path, is_site):
    """The file keeps its size and its time."""
    site = tmp_path / "telemetry.toml"
    path = site if is_site else homes.config_file(home)
    homes.write_settings(home, "")
    path.write_text("enabled = true \n")
    gate = ConsentGate(Home(home), site, lambda: None)
    assert gate()
    before = path.stat()
    path.write_text("enabled = false\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not gate()


def test_settings_that_lead_nowhere_stop_a_sidecar_and_delete_nothing(home, collector):
    homes.configure(home, collector.url)
    segment = homes.put(home, records.series(2))
    homes.config_file(home).unlink()
    homes.config_file(home).symlink_to("gone/config.toml")
    assert processes.run(home, ["-m", "flwr_telemetryd", "--once"]).returncode == ExitCode.DISABLED
    assert collector.requests == []
    assert homes.unsent_files(home) == [segment]
