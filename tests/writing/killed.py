"""A writer that is killed between two documents, again and again.

    python -m tests.writing.killed RUNS.msgpack

The file holds runs, each with how many of its documents are given to the writer before its process
is killed, and how many seconds it waits first.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgpack
from dbservice import connect


def main() -> None:
    for documents, count, seconds in msgpack.unpackb(Path(sys.argv[1]).read_bytes()):
        child = os.fork()
        if not child:
            write(documents[:count], seconds)
        _, status = os.waitpid(child, 0)
        if os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit(1)


def write(documents: Any, seconds: float) -> None:
    writer = connect(timeout=20).writer("csx")
    for name, document in documents:
        writer(name, document)
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
