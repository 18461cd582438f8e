"""What the faults happen to: two instances behind nginx, over a MongoDB that can be stopped."""

import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from demo.embedded_mongo import embedded_mongo
from headers.mongo import database
from tests import settings as test_settings
from tests.behind_nginx import nginx
from tests.documents import Recorder
from tests.frames import SIDE, record_frames
from tests.load import ask
from tests.running import ROOT, Installation, Instance

FRAMES = 32
FRAME_BYTES = SIDE * SIDE * 2


@dataclass
class World:
    folder: Path
    port: int
    """of nginx"""
    instances: list[Instance]
    run: str
    """uid of a public run of 32 frames of 512 × 512 pixels"""
    installation: Installation
    recorder: Recorder
    followers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    """processes of `manage.py follow`"""

    @property
    def header(self) -> str:
        return f"/api/v1/headers/{self.run}/"

    @property
    def frames(self) -> str:
        """16 MiB"""
        return f"{self.header}streams/primary/data/image/?format=octet-stream"

    @property
    def frame(self) -> str:
        return f"{self.frames}&slice=7"

    def start_follower(self) -> None:
        command = [sys.executable, "manage.py", "follow", "--seconds", "0.2"]
        with (self.folder / "follower.log").open("ab") as log:
            follower = subprocess.Popen(
                command, cwd=ROOT, env=self.installation.environment, stdout=log, stderr=log
            )
        self.followers.append(follower)

    def stop_followers(self) -> None:
        for follower in self.followers:
            follower.terminate()
            follower.wait(20)

    def add_runs(self, count: int) -> int:
        """How many runs the catalog has then."""
        for _ in range(count):
            self.recorder.run("312000", events=0)
        return database(self.recorder.catalogs["csx"].metadata).run_start.count_documents({})

    def indexed_runs(self) -> int:
        """Runs of the catalog csx in the index, as /metrics tells."""
        _, content = ask(self.instances[0].port, "/metrics")
        found = content.decode().partition('broker_index_runs{catalog="csx"} ')[2]
        return int(float(found.split()[0])) if found else 0


@contextmanager
def world(folder: Path, **variables: str) -> Iterator[World]:
    """A new one in this folder. `variables` go into the instances' environment."""
    with ExitStack() as stack:
        stack.enter_context(embedded_mongo(None, test_settings.MONGO_PORT))
        recorder = Recorder({catalog.name: catalog for catalog in settings.CATALOGS})
        uid = record_frames(recorder, "faults", FRAMES)
        installation = Installation.make(folder, BROKER_NUM_PROXIES="1", **variables)
        instances = [stack.enter_context(installation.instance()) for _ in range(2)]
        port = stack.enter_context(nginx(folder, [instance.port for instance in instances]))
        there = World(folder, port, instances, uid, installation, recorder)
        stack.callback(there.stop_followers)
        for _ in range(2):
            there.start_follower()
        yield there


def processes(text: str, below: int | None = None) -> list[int]:
    """Ids of the processes whose command line holds the text, below one of them if given."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has just ended
        if text in command and (below is None or below in _ancestors(int(entry.name))):
            found.append(int(entry.name))
    return found


def _ancestors(process: int) -> Iterator[int]:
    while process > 1:
        try:
            status = Path(f"/proc/{process}/status").read_text()
        except OSError:
            return
        process = int(status.partition("PPid:")[2].split()[0])
        yield process


def workers(instance: Instance) -> list[int]:
    return processes("gunicorn", below=instance.process.pid)


@contextmanager
def paused(process: int) -> Iterator[None]:
    """The process hangs: it keeps its connections and answers nothing."""
    os.kill(process, signal.SIGSTOP)
    threads = Path(f"/proc/{process}/task")
    while any(_state(thread) != "T" for thread in threads.iterdir()):
        time.sleep(0.01)  # one that runs on another processor stops a moment later
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def _state(thread: Path) -> str:
    return (thread / "stat").read_text().rpartition(")")[2].split()[0]


@contextmanager
def clients(port: int, requests: Sequence[bytes], take: int) -> Iterator[Callable[[float], int]]:
    """Connections that send what they are given and then take `take` bytes now and then.

    Calling what this gives lets time pass, in seconds, and returns how many bytes were taken.
    """
    with ExitStack() as stack:
        waiting = stack.enter_context(selectors.DefaultSelector())
        for request in requests:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 20))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(request)
            connection.setblocking(False)
            if take:
                waiting.register(connection, selectors.EVENT_READ)

        def pass_time(seconds: float) -> int:
            taken, end = 0, time.monotonic() + seconds
            while time.monotonic() < end:
                for key, _ in waiting.select(0.1) if take else ():
                    try:
                        taken += len(key.fileobj.recv(take))  # type: ignore[union-attr]
                    except ConnectionError:
                        waiting.unregister(key.fileobj)
                time.sleep(0.2)
            return taken

        yield pass_time
