"""A program that partitions a data set of its own by flwr-datasets, and reports by Flower too.

Knows nothing of us, needs no network, and leaves its files in the directory that the argument names.
"""

import pathlib
import sys

from flwr.common import EventType, event
from flwr_datasets import FederatedDataset

ROWS = 20

scratch = pathlib.Path(sys.argv[1])
(scratch / "data.csv").write_text("label\n" + "".join(f"{number % 2}\n" for number in range(ROWS)))
dataset = FederatedDataset(
    dataset="csv",
    data_files=str(scratch / "data.csv"),
    cache_dir=str(scratch / "cache"),
    partitioners={"train": 2},
)
event(EventType.PING, {"before": True}).exception()
assert sum(len(dataset.load_partition(number)) for number in range(2)) == ROWS
assert len(dataset.load_split("train")) == ROWS
event(EventType.PING, {"before": False}).exception()
