"""A small Flower app, run by ``test_simulation.py`` as a user runs his: ``python simulation.py``.

Federated averaging of a mean, in NumPy: 10 nodes, 3 rounds, Ray backend. Knows nothing of us. Besides
what Flower itself reports, each training in a Ray worker reports a ``PING`` by Flower's own function,
so that the test sees every kind of process of the run.
"""

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

NODES = 10
ROUNDS = 3

client_app = ClientApp()
server_app = ServerApp()


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """Take half a step towards this node's own data."""
    from flwr.supercore.telemetry import EventType, event

    node = int(context.node_config["partition-id"])
    # Ray ends its workers at once; today's Flower would lose what is still on its thread.
    event(EventType.PING, {"round": message.content["config"]["server-round"], "node": node}).exception()
    (model,) = message.content.array_records["arrays"].to_numpy_ndarrays()
    content = RecordDict(
        {
            "arrays": ArrayRecord([(model + node) / 2]),
            "metrics": MetricRecord({"num-examples": 1}),
        },
    )
    return Message(content=content, reply_to=message)


@server_app.main()
def main(grid: Grid, _context: Context) -> None:
    """Average over all nodes, and make sure that it was a real training."""
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=NODES, min_available_nodes=NODES)
    result = strategy.start(grid, initial_arrays=ArrayRecord([np.zeros(4)]), num_rounds=ROUNDS)
    (model,) = result.arrays.to_numpy_ndarrays()
    mean = sum(range(NODES)) / NODES
    np.testing.assert_allclose(model, np.full(4, mean * (1 - 0.5**ROUNDS)))


if __name__ == "__main__":
    run_simulation(
        server_app=server_app,
        client_app=client_app,
        num_supernodes=NODES,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"num_cpus": 2, "include_dashboard": False},
        },
    )
