"""The least that a sidecar can take: its imports and one request over TLS. ``python posting.py ORIGIN``."""

import os
import sys

import filelock  # noqa: F401
import msgpack  # noqa: F401
import psutil  # noqa: F401
import requests

BODY = b'{"num-supernodes":10}'


def main(origin):
    with requests.Session() as session:
        answer = session.post(
            f"{origin}/api/v1/event", data=BODY, timeout=60, verify=os.environ["REQUESTS_CA_BUNDLE"]
        )
        answer.raise_for_status()


if __name__ == "__main__":
    main(sys.argv[1])
