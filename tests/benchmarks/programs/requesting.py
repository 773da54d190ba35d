"""The floor of a sidecar, one request over TLS: ``python -I -S requesting.py ORIGIN DIRECTORY``."""

import http.client
import ssl
import sys

_, _, address = sys.argv[1].partition("://")
connection = http.client.HTTPSConnection(address, context=ssl.create_default_context(capath=sys.argv[2]))
connection.request("POST", "/api/v1/event", b'{"num-supernodes":10}')
answer = connection.getresponse()
answer.read()
if answer.status != http.client.OK:
    raise SystemExit(f"the collector answered {answer.status}")
