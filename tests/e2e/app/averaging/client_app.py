"""What a node does: half a step towards its own number."""

import os

import numpy as np
from flwr.client import Client, ClientApp, NumPyClient
from flwr.common import Context


class Node(NumPyClient):
    """A node whose data is the number of its partition."""

    def __init__(self, number: int, *, exit_hard: bool) -> None:
        self.number = number
        self.exit_hard = exit_hard

    def fit(self, parameters: list[np.ndarray], _config: dict) -> tuple[list[np.ndarray], int, dict]:
        if self.exit_hard:
            os._exit(3)
        (model,) = parameters
        return [(model + self.number) / 2], 1, {}


def client_fn(context: Context) -> Client:
    number = int(context.node_config["partition-id"])
    return Node(number, exit_hard=bool(context.run_config["exit-hard"])).to_client()


app = ClientApp(client_fn=client_fn)
