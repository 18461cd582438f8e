"""A MongoDB-wire server (SecantusDB) as a process of its own, for the demo and the tests."""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

START_SECONDS = 60.0
STOP_SECONDS = 10.0
_LISTENING = re.compile(r"listening on 127\.0\.0\.1:(\d+)")


@contextmanager
def embedded_mongo(storage: Path | None, port: int = 0) -> Iterator[str]:
    """Run a server and yield its base URI, ``mongodb://127.0.0.1:PORT``; stop it on exit.

    ``storage`` is the folder that keeps the databases, its log is ``<storage>.log`` beside it;
    with None nothing is kept. ``port`` 0 takes a free one.
    Enter it in a thread that lives as long as the server is wanted: the kernel ends the server
    with the thread that started it.
    Raises RuntimeError, with the end of the log, if the server does not come up.
    """
    with ExitStack() as stack:
        stop = _stop
        if storage is None:
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="embedded-mongo-"))
            storage = Path(scratch) / "db"
            stop = _kill  # nothing to save, and an orderly end takes two seconds
        storage = storage.resolve()
        storage.mkdir(parents=True, exist_ok=True)
        log = storage.with_name(storage.name + ".log")
        server = _start(storage, port, log)
        stack.callback(stop, server)
        yield f"mongodb://127.0.0.1:{_wait_for_port(server, log)}"


def _start(storage: Path, port: int, log: Path) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C in the terminal must not end the server while requests that
    # need it are still being finished. setpriv: the kernel kills it if we die without stopping
    # it (KILL, because a server busy with one long regular expression ignores TERM).
    server = str(Path(sys.executable).with_name("secantusd-py"))
    options = ["--port", str(port), "--storage-path", str(storage)]
    with log.open("wb") as output:
        return subprocess.Popen(
            ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--", server, *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=storage,  # the server reads a configuration file from its working directory
        )


def _wait_for_port(server: subprocess.Popen[bytes], log: Path) -> int:
    """The port the server says that it listens on; it says so after it has bound it."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        if found := _LISTENING.search(text):
            return int(found.group(1))
        if server.poll() is not None:
            break
        time.sleep(0.02)
    tail = log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"The embedded MongoDB did not start; the end of {log}:\n{tail}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        _kill(server)


def _kill(server: subprocess.Popen[bytes]) -> None:
    server.kill()
    server.wait()
