"""The consent gate."""

import pytest

from flwr_telemetryd.errors import ExitCode
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
