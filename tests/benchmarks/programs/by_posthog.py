"""Events by posthog, as its documentation has it: a client, ``capture``, and ``shutdown`` at the end."""

import program
from posthog import Posthog


def begin(origin):
    client = Posthog("phc_benchmark", host=origin)

    def emit(details):
        client.capture("PING", distinct_id="benchmark", properties=details)

    return emit, client.shutdown


if __name__ == "__main__":
    program.main(begin)
