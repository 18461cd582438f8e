"""A Redis of the tests' own, from Debian's package."""

import subprocess
from pathlib import Path
from typing import Self

from tests.programs import free_port, program, wait_for_port


class Redis:
    """Runs inside a `with` block; it can be stopped and started there, and keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """For BROKER_CACHE_URL."""
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        options = ["--port", str(self._port), "--bind", "127.0.0.1", "--save", ""]
        self._process = subprocess.Popen(
            [program("redis-server"), *options], cwd=self._folder, stdout=subprocess.DEVNULL
        )
        wait_for_port(self._port)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)
