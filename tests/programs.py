"""Programs from the system that some tests need: skipped without, or failed where CI insists."""

import os
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import NoReturn

import pytest


def lacking(what: str) -> NoReturn:
    """Ends the test: skipped, or under BROKER_REQUIRE_ALL=1, failed."""
    if os.environ.get("BROKER_REQUIRE_ALL") == "1":
        pytest.fail(f"{what} is missing, and BROKER_REQUIRE_ALL=1 asks for it")
    pytest.skip(f"{what} is missing")


def program(name: str) -> str:
    """The path of a program, also of one that a Python package brought."""
    folders = [os.environ.get("PATH", ""), str(Path(sys.prefix) / "bin"), "/usr/sbin"]
    return shutil.which(name, path=os.pathsep.join(folders)) or lacking(name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port} after {seconds} s")
