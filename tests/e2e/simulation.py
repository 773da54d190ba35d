"""A small Flower app that uses no package of ours: ``python simulation.py [cluster|fail]``.

Federated averaging of a mean with NumPy and Ray, for all releases of Flower from 1.8 on. Each training in a
Ray worker also reports a ``PING`` by Flower's own function, so that the tests see every kind of process of
the run.

``cluster`` runs it on a Ray cluster of three nodes; ``fail`` makes the server app raise.
"""

import sys

import numpy as np
from flwr.client import ClientApp, NumPyClient
from flwr.common import EventType, event, ndarrays_to_parameters
from flwr.server import ServerApp, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.simulation import run_simulation

NODES = 10
ROUNDS = 3


class Node(NumPyClient):
    """A node whose data is its own number."""

    def __init__(self, number):
        self.number = number

    def fit(self, parameters, config):
        details = {"round": config["round"], "node": self.number}
        # Ray ends its workers at once; Flower itself would lose an event that is still on its thread.
        event(EventType.PING, details).exception()
        (model,) = parameters
        return [(model + self.number) / 2], 1, {}


def client_fn(context):
    number = context if isinstance(context, str) else context.node_config["partition-id"]  # text in 1.8
    return Node(int(number)).to_client()


def averaging(nodes):
    def check(server_round, arrays, _config):
        if "fail" in sys.argv:
            message = "this run was asked to fail"
            raise ValueError(message)
        mean = (nodes - 1) / 2 * (1 - 0.5**server_round)
        np.testing.assert_allclose(arrays[0], np.full(4, mean))

    return FedAvg(
        fraction_evaluate=0.0,
        min_fit_clients=nodes,
        min_available_clients=nodes,
        accept_failures=False,
        evaluate_fn=check,
        on_fit_config_fn=lambda server_round: {"round": server_round},
        initial_parameters=ndarrays_to_parameters([np.zeros(4)]),
    )


def join_cluster():
    """Start a cluster of three nodes, and initialise Ray on it before Flower does."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address)


if __name__ == "__main__":
    if "cluster" in sys.argv:
        join_cluster()
    run_simulation(
        server_app=ServerApp(config=ServerConfig(num_rounds=ROUNDS), strategy=averaging(NODES)),
        client_app=ClientApp(client_fn=client_fn),
        num_supernodes=NODES,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"num_cpus": 2, "include_dashboard": False},
        },
    )
