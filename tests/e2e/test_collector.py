"""A real Flower reports to the product's own collector: unmodified by its own means, and by a sidecar."""

from pathlib import Path

import pytest
import trustme

pytest.importorskip("sqlalchemy")
pytest.importorskip("starlette")

from tests.e2e.gateway import FLOWERS_HOST, Gateway, _Proxy
from tests.e2e.sides import OURS, Side
from tests.e2e.test_simulation import serve
from tests.support import homes, processes, wire
from tests.support.receiving import Serving

pytestmark = [pytest.mark.e2e, pytest.mark.heavy]


class _Way(Gateway):
    """The proxy and the authority by which an unmodified Flower takes the collector for Flower's own."""

    def __init__(self, port, bundle):
        self._bundle, self._proxy = bundle, _Proxy(port)

    def __enter__(self):
        self._proxy.__enter__()
        return self

    def __exit__(self, *exception):
        self._proxy.__exit__(*exception)


def certified(directory):
    """A certificate of Flower's host, for ``serve``, and the authority that made it."""
    authority = trustme.CA()
    own = authority.issue_cert(FLOWERS_HOST)
    own.private_key_pem.write_to_path(directory / "key.pem")
    own.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    return ["--tls-cert", directory / "cert.pem", "--tls-key", directory / "key.pem"]


@pytest.mark.parametrize("prefix", [(), OURS], ids=["unmodified", "ours"])
def test_a_training_is_counted(tmp_path, prefix):
    """A server and its clients: what arrives is what Flower's code reported, once.

    Flower's own telemetry loses an event whose process ends before its request does.
    """
    database = tmp_path / "flwr.db"
    directory = Path(tmp_path, "side")
    (directory / "home" / ".flwr").mkdir(parents=True, mode=0o700)
    tls = [] if prefix else certified(tmp_path)
    with Serving(database, tmp_path, *tls) as running, _Way(running.port, tmp_path / "ca.pem") as way:
        one = Side(directory, prefix, way, str(tmp_path))
        if prefix:
            homes.configure(one.home, running.url)
        serve(one)
        reported = one.reported()
        enough = len(reported) if prefix else 1
        processes.wait_until(lambda: len(running.events()) >= enough, what="events")
        kinds = ("event_type", "event_details")
        came = [{name: event[name] for name in kinds} for event in running.events()]
        processes.end_all(one.home)
    assert reported
    assert wire.bag(came) <= wire.bag(reported)
