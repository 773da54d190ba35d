"""A node makes half a step towards its own number."""

import os

from flwr.client import ClientApp, NumPyClient


class Node(NumPyClient):
    """A node whose data is the number of its partition."""

    def __init__(self, number, *, exit_hard):
        self.number = number
        self.exit_hard = exit_hard

    def fit(self, parameters, _config):
        if self.exit_hard:
            os._exit(3)
        (model,) = parameters
        return [(model + self.number) / 2], 1, {}


def client_fn(context):
    number = int(context.node_config["partition-id"])
    return Node(number, exit_hard=bool(context.run_config["exit-hard"])).to_client()


app = ClientApp(client_fn=client_fn)
