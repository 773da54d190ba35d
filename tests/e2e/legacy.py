"""The first ways to run Flower, which still work: ``python legacy.py ROLE …``.

``server ADDRESS`` and two ``client ADDRESS NUMBER`` make one training together; ``simulation`` makes a whole
one with Ray. The training is that of ``simulation.py``. This program does not use our packages.
"""

import sys

from flwr.client import start_client
from flwr.server import ServerConfig, start_server
from flwr.simulation import start_simulation
from simulation import ROUNDS, Node, averaging, client_fn

NODES = 2

if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    training = {"config": ServerConfig(num_rounds=ROUNDS), "strategy": averaging(NODES)}
    if role == "server":
        start_server(server_address=arguments[0], **training)
    elif role == "client":
        start_client(server_address=arguments[0], client=Node(int(arguments[1])).to_client())
    else:
        start_simulation(
            client_fn=client_fn,
            num_clients=NODES,
            client_resources={"num_cpus": 1, "num_gpus": 0.0},
            ray_init_args={"num_cpus": NODES, "include_dashboard": False},
            **training,
        )
