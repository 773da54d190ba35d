"""The server averages over all nodes, and checks that it was a real training."""

import numpy as np
from flwr.common import ndarrays_to_parameters
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg


def server_fn(context):
    nodes = int(context.run_config["num-nodes"])
    rounds = int(context.run_config["num-rounds"])
    if context.run_config["fail"]:
        message = "this run was asked to fail"
        raise ValueError(message)

    def check(server_round, arrays, _config):
        mean = (nodes - 1) / 2 * (1 - 0.5**server_round)
        np.testing.assert_allclose(arrays[0], np.full(4, mean))
        return 0.0, {}

    strategy = FedAvg(
        fraction_evaluate=0.0,
        min_fit_clients=nodes,
        min_available_clients=nodes,
        accept_failures=False,
        evaluate_fn=check,
        initial_parameters=ndarrays_to_parameters([np.zeros(4)]),
    )
    return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=rounds))


app = ServerApp(server_fn=server_fn)
