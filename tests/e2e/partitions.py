"""A program that partitions a data set by flwr-datasets, and reports by Flower too: ``… DIRECTORY``.

It needs no network, writes to DIRECTORY, and does not use our packages.
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
