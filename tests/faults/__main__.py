"""`make faults`: what the service does while things around it fail, as a table.

Each fault happens under load through nginx. Reported are the answers that others got meanwhile,
the longest wait among them, and how long after the end of the fault an answer still failed. Exits
with 1 where an answer was wrong, where others failed who should not have, or where recovery took
five seconds or longer.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from tests import settings as test_settings
from tests.faults.world import FRAME_BYTES, World, clients, paused, processes, workers, world
from tests.load import SIGN_IN, Load, ask
from tests.postgresql import PostgreSQL

RECOVERY_SECONDS = 5.0
HUNG_SECONDS = 30.0
AWAY_SECONDS = 10.0
INDEXED_SECONDS = 60.0
"""until followers that have just been started, on a busy machine, have read what came"""
OK = frozenset({200})
REFUSED = frozenset({200, 502, 503})
"""what may be answered while something that is needed is away: an answer, or an honest refusal"""


@dataclass(frozen=True)
class Fault:
    name: str
    happen: Callable[[World], None]
    """begins and ends the fault"""
    allowed: frozenset[int] = OK
    """what others may be answered meanwhile"""
    lost_posts: int = 0
    """how many POSTs may be lost, that were sent and are not sent again"""


@dataclass(frozen=True)
class Outcome:
    fault: Fault
    statuses: Counter[int]
    posted: Counter[int]
    """those of `statuses` that answered a POST"""
    wrong: int
    longest: float
    recovery: float

    @property
    def fine(self) -> bool:
        lost = Counter({502: self.posted[502]}) if self.fault.lost_posts else Counter[int]()
        right = not self.wrong and lost.total() <= self.fault.lost_posts
        right = right and set(self.statuses - lost) <= self.fault.allowed
        return right and self.recovery < RECOVERY_SECONDS

    def __str__(self) -> str:
        answers = ", ".join(
            f"{count} × {status or 'broken'}" for status, count in self.statuses.items()
        )
        verdict = "ok" if self.fine else "FAILED"
        return (
            f"| {self.fault.name} | {answers} | {self.wrong} | {self.longest:.1f} s"
            f" | {self.recovery:.1f} s | {verdict} |"
        )


def slow_downloads(there: World) -> None:
    """200 clients take 16 MiB each, at a few kilobytes a second."""
    request = f"GET {there.frames} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with clients(there.port, [request] * 200, take=2048) as pass_time:
        assert pass_time(15) > 200 * 2048


def idle(there: World) -> None:
    """500 connections on which nothing is sent."""
    with clients(there.port, [b""] * 500, take=0) as pass_time:
        pass_time(10)


def half_sent(there: World) -> None:
    """500 requests whose second half never comes."""
    request = f"GET {there.header} HTTP/1.1\r\nHost: localhost\r\nAcce".encode()
    with clients(there.port, [request] * 500, take=0) as pass_time:
        pass_time(10)


def worker_killed(there: World) -> None:
    for instance in there.instances:
        os.kill(workers(instance)[0], signal.SIGKILL)


def reader_killed(there: World) -> None:
    for instance in there.instances:
        for reader in processes("reader_worker", below=instance.process.pid):
            os.kill(reader, signal.SIGKILL)


def follower_killed(there: World) -> None:
    """Both of two followers, with runs that come meanwhile; then one is started again."""
    for follower in there.followers:
        follower.kill()
    expected = there.add_runs(200)
    there.start_follower()
    there.start_follower()
    deadline = time.monotonic() + INDEXED_SECONDS
    while there.indexed_runs() != expected and time.monotonic() < deadline:
        time.sleep(0.2)
    assert there.indexed_runs() == expected, "runs were lost, or are indexed twice"


def mongodb_hung(there: World) -> None:
    with paused(processes(f"--port {test_settings.MONGO_PORT}")[0]):
        time.sleep(HUNG_SECONDS)


FAULTS = (
    Fault("200 slow downloads of 16 MiB", slow_downloads),
    Fault("500 idle connections", idle),
    Fault("500 half-sent requests", half_sent),
    Fault("kill -9 of a worker of each instance", worker_killed, lost_posts=1),
    Fault("kill -9 of every reader of files", reader_killed),
    Fault("kill -9 of both followers, 200 runs meanwhile", follower_killed),
    Fault(f"MongoDB hung for {HUNG_SECONDS:.0f} s", mongodb_hung, REFUSED),
)


def outcome(fault: Fault, there: World) -> Outcome:
    """Lets the fault happen under load."""
    paths = (there.header, there.frame, "/api/v1/headers/", SIGN_IN)
    right = {path: ask(there.port, path)[1] for path in (there.header, there.frame)}
    assert len(right[there.frame]) == FRAME_BYTES
    with Load(there.port, paths, right) as load:
        time.sleep(1)
        fault.happen(there)
        end = time.monotonic()
        time.sleep(RECOVERY_SECONDS)
    recovery = max(0.0, load.last_failure - end)
    return Outcome(fault, load.statuses, load.posted, load.wrong, load.longest, recovery)


def full(disk: Path) -> Callable[[World], None]:
    """Nothing can be written to the file system of the policy database."""

    def happen(there: World) -> None:
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        time.sleep(AWAY_SECONDS)
        filler.unlink()

    return happen


def away(server: PostgreSQL) -> Callable[[World], None]:
    def happen(there: World) -> None:
        server.stop()
        time.sleep(AWAY_SECONDS)
        server.start()

    return happen


def outcomes() -> Iterator[Outcome]:
    with folder() as here, world(here) as there:
        for fault in FAULTS:
            yield outcome(fault, there)
    with folder() as here, PostgreSQL() as server, world(here, DATABASE_URL=server.url) as there:
        fault = Fault(f"PostgreSQL away for {AWAY_SECONDS:.0f} s", away(server), REFUSED)
        yield outcome(fault, there)
    with folder() as here, small_disk() as disk, world(here, DATABASE_URL=sqlite(disk)) as there:
        yield outcome(Fault("disk of the policy database full", full(disk), REFUSED), there)


def sqlite(place: Path) -> str:
    return f"sqlite:///{place}/policies.sqlite3"


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="broker-faults-") as name:
        yield Path(name)


@contextmanager
def small_disk() -> Iterator[Path]:
    """A file system of 16 MiB in memory. Needs root."""
    with folder() as place:
        mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)]
        subprocess.run(mount, check=True)
        try:
            yield place
        finally:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


def main() -> None:
    print("| fault | answers to others | wrong | longest wait | recovery | |")
    print("| --- | --- | --- | --- | --- | --- |")
    fine = True
    for result in outcomes():
        print(result, flush=True)
        fine = fine and result.fine
    sys.exit(not fine)


if __name__ == "__main__":
    main()
