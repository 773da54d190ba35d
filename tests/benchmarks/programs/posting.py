"""The floor of a sidecar: its imports and one request over TLS: ``python posting.py ORIGIN``."""

import os
import sys

import filelock  # noqa: F401
import msgpack  # noqa: F401
import psutil  # noqa: F401
import requests

body, authorities = b'{"num-supernodes":10}', os.environ["REQUESTS_CA_BUNDLE"]
with requests.Session() as session:
    url = f"{sys.argv[1]}/api/v1/event"
    session.post(url, data=body, timeout=60, verify=authorities).raise_for_status()
