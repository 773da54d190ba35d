"""The thread that writes: many parcels in one commit, a limit for those that wait, and its end."""

import asyncio
import json
import sqlite3
import uuid

import pytest

from flwr_telemetry.record import to_wire
from flwr_telemetry_collector import intake
from flwr_telemetry_collector.database import Database
from flwr_telemetry_collector.store import Outcome
from flwr_telemetry_collector.writer import QueueFullError, UnavailableError, Writer
from tests.support import records


def parcel():
    event = to_wire(records.sample(source=str(uuid.uuid4())))
    return intake.parcel(json.dumps(event).encode(), None)


def test_what_waits_is_one_commit_and_no_more_than_the_limit(tmp_path):
    """While another process holds the database, parcels wait; those beyond the limit are refused at once."""
    database, commits = str(tmp_path / "flwr.db"), []
    writer = Writer(Database(database), max_days=9, most_waiting=20, on_commit=commits.append)
    other = sqlite3.connect(database, isolation_level=None)

    async def scene():
        assert await writer.add(parcel()) is Outcome.ACCEPTED
        other.execute("BEGIN IMMEDIATE")
        first = asyncio.create_task(writer.add(parcel()))
        is_taken = False
        while not is_taken:
            await asyncio.sleep(0.01)
            is_taken = not writer.waiting
        tasks = [asyncio.create_task(writer.add(parcel())) for _ in range(50)]
        await asyncio.sleep(0)
        other.execute("ROLLBACK")
        return await asyncio.gather(first, *tasks, return_exceptions=True)

    told = asyncio.run(scene())
    writer.close()
    other.close()
    assert told[:21] == [Outcome.ACCEPTED] * 21
    assert {type(one) for one in told[21:]} == {QueueFullError}
    assert len(commits) == 3


def test_after_its_end_nothing_is_taken(tmp_path):
    writer = Writer(Database(str(tmp_path / "flwr.db")), max_days=9)
    writer.close()
    with pytest.raises(UnavailableError):
        asyncio.run(writer.add(parcel()))
