"""`python -m bench.live`: many readers of one run that is being taken, served by one process.

How long from the insert of an event until each reader has it, how much memory the process needs,
and how long others wait meanwhile. Readers and MongoDB run on the same machine, so that with few
cores most of what is measured is theirs.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from bench.__main__ import CATALOGS
from bench.servers import ROOT, free_port, mongo, service_environment, wait_until_alive

READERS = int(os.environ.get("BROKER_BENCH_READERS", "500"))
USERS = -(-READERS // 100)
SECONDS = 20.0
EVENTS_PER_SECOND = 10
PEOPLE = f"""
from policies.models import Membership, Proposal, User
from policies.sessions import begin_session
proposal, _ = Proposal.objects.get_or_create(proposal_id="1")
for n in range({USERS}):
    user = User.objects.create_user(f"reader{{n}}")
    Membership.objects.create(proposal=proposal, user=user)
    print("token", begin_session(user).access)
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-live-") as name:
        folder = Path(name)
        with mongo(folder) as (base, kind):
            uri = f"{base}/bench"
            environment = os.environ | service_environment(
                folder, CATALOGS.format(name="bench", uri=uri, folder=folder)
            )
            tokens = _people(environment)
            with _live(folder, environment) as (port, pid):
                found = asyncio.run(_measured(uri, port, pid, tokens))
    print(f"MongoDB: {kind}; {os.cpu_count()} cores; {READERS} readers in one process\n")
    print("| what | measured | target |\n| --- | ---: | --- |")
    for line in found:
        print(f"| {' | '.join(line)} |")


def _people(environment: dict[str, str]) -> list[str]:
    for command in (["migrate", "--no-input", "-v0"], ["shell", "-v0", "-c", PEOPLE]):
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    lines = done.stdout.splitlines()
    return [line.removeprefix("token ") for line in lines if line.startswith("token ")]


@contextmanager
def _live(folder: Path, environment: dict[str, str]) -> Iterator[tuple[int, int]]:
    port = free_port()
    with (folder / "live.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "live"],
            cwd=ROOT,
            env=environment | {"BROKER_LIVE_BIND": f"127.0.0.1:{port}"},
            stdout=log,
            stderr=log,
        )
    try:
        wait_until_alive(f"http://127.0.0.1:{port}/livez")
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


class Readers:
    """All readers, and when each of them had which event."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.waits: list[float] = []
        self.connected = 0

    async def read(self, uid: str, token: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**22)
        writer.write(
            f"GET /api/v1/headers/{uid}/documents/?follow=true HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        try:
            async for line in reader:
                if line.startswith(b"event: descriptor"):
                    self.connected += 1
                if line.startswith(b'data: {"descriptor"'):
                    now = time.time()
                    self.waits += (now - moment for moment in json.loads(line[6:])["time"])
        finally:
            writer.close()


async def _measured(uri: str, port: int, pid: int, tokens: list[str]) -> list[tuple[str, ...]]:
    database: Any = MongoClient(uri).get_default_database()
    uid, descriptor = _begun(database)
    alone = _resident(pid)
    quiet = await _livez(port, 2.0)
    readers = Readers(port)
    tasks = [
        asyncio.ensure_future(readers.read(uid, tokens[n % len(tokens)])) for n in range(READERS)
    ]
    while readers.connected < READERS:
        await asyncio.sleep(0.1)
    await asyncio.sleep(3)
    taking = asyncio.ensure_future(_take(database, descriptor))
    busy = await _livez(port, SECONDS)
    count = await taking
    await asyncio.sleep(2)
    memory = _resident(pid)
    for task in tasks:
        task.cancel()
    waits = sorted(readers.waits)
    milliseconds = [f"{1000 * _part(waits, part):.0f} ms" for part in (0.5, 0.99)]
    return [
        ("event to reader, p50", milliseconds[0], ""),
        ("event to reader, p99", milliseconds[1], "≤ 1 s"),
        ("events that came", f"{len(waits)} of {count * READERS}", "all"),
        ("memory without readers", f"{alone:.0f} MB", ""),
        (f"memory with {READERS} readers", f"{memory:.0f} MB", "< 300 MB"),
        ("/livez without readers, p50", f"{1000 * statistics.median(quiet):.1f} ms", ""),
        ("/livez meanwhile, p50", f"{1000 * statistics.median(busy):.1f} ms", "< 20 ms"),
        ("/livez meanwhile, p99", f"{1000 * _part(sorted(busy), 0.99):.1f} ms", ""),
    ]


def _begun(database: Any) -> tuple[str, str]:
    uid, descriptor = str(uuid.uuid4()), str(uuid.uuid4())
    database.event.create_index([("descriptor", -1), ("time", 1)])
    database.run_start.create_index("uid", unique=True)
    database.run_start.insert_one({"uid": uid, "time": time.time(), "data_session": "pass-1"})
    number = {"dtype": "number", "shape": [], "source": "SIM"}
    keys = {"motor": number, "det": number}
    database.event_descriptor.insert_one(
        {"uid": descriptor, "run_start": uid, "time": time.time(), "name": "primary"}
        | {"data_keys": keys}
    )
    return uid, descriptor


async def _take(database: Any, descriptor: str) -> int:
    count = int(SECONDS * EVENTS_PER_SECOND)
    for n in range(1, count + 1):
        moment = time.time()
        event = {
            "uid": str(uuid.uuid4()),
            "descriptor": descriptor,
            "seq_num": n,
            "time": moment,
            "data": {"motor": n / 10, "det": n * 1.5},
            "timestamps": {"motor": moment, "det": moment},
            "filled": {},
        }
        await asyncio.to_thread(database.event.insert_one, event)
        await asyncio.sleep(1 / EVENTS_PER_SECOND)
    return count


async def _livez(port: int, seconds: float) -> list[float]:
    """How long each of many requests in turn takes."""
    found = []
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        begin = time.perf_counter()
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        await reader.readexactly(length)
        found.append(time.perf_counter() - begin)
        await asyncio.sleep(0.05)
    writer.close()
    return found


def _resident(pid: int) -> float:
    """Megabytes of memory that the process has."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def _part(values: list[float], part: float) -> float:
    return values[min(len(values) - 1, int(part * len(values)))]


if __name__ == "__main__":
    main()
