"""The production server: `gunicorn --config deploy/gunicorn.conf.py broker_site.wsgi`.

Threads, because a request mostly waits for MongoDB or for a slow client; a thread
that streams to a slow client does not keep the others from working.
"""

import ctypes
import gc
import os
import shutil
import socket
import struct
import sys
import tempfile
from typing import Any

# Where the workers keep their counts, so that /metrics tells those of all of them. Set
# before prometheus_client is imported, which looks then.
# In memory, where there is such a place: a full disc must not end a worker that writes to a file
# that is mapped.
MEMORY = "/dev/shm"  # noqa: S108 (what is made there has a name of its own)
IN_MEMORY = MEMORY if os.access(MEMORY, os.W_OK) else None
os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="broker-metrics-", dir=IN_MEMORY)
worker_tmp_dir = IN_MEMORY  # the file by which a worker says that it lives

# Memory that a long answer needed goes back to the system. By glibc's defaults each thread has an
# area of its own, in which blocks of up to 32 MiB are kept, and Arrow has a store of its own.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # malloc.h
libc = ctypes.CDLL(None)
if hasattr(libc, "mallopt"):  # glibc
    libc.mallopt(M_ARENA_MAX, 1)
    libc.mallopt(M_MMAP_THRESHOLD, 128 * 1024)

bind = os.environ.get("BROKER_BIND", f"127.0.0.1:{os.environ.get('PORT', '8000')}")
# Files, sockets and their folders are the service's alone.
umask = 0o077
limit_request_line = 8190
# gunicorn itself believes no header about where a request came from; the service believes as many
# proxies as BROKER_NUM_PROXIES says.
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
worker_class = "broker_site.gunicorn_worker.Worker"
workers = int(os.environ.get("BROKER_WORKERS", "2"))
threads = int(os.environ.get("BROKER_THREADS", "16"))
keepalive = 75  # longer than a load balancer's, so that it is not we who close first
timeout = 60
graceful_timeout = 30
# It would be one socket in the account's home for all instances; nobody asks them there.
control_socket_disable = True
# The service's own log has one line per request, without query values.
accesslog = None
# The application is loaded before the port is opened: until then nginx finds it closed and asks the
# other instance, instead of waiting for the answer of one that still loads. A worker that was
# killed is replaced within moments, and wrong settings end the server at once, with their one line.
preload_app = True


# A client that sends nothing, or takes nothing, for so long gives its thread back. Threads are
# few: without this, as many idle connections as there are threads stop the service.
RECEIVE_SECONDS = 20
SEND_SECONDS = 120  # who reads a stream may think about it in between


def when_ready(server: Any) -> None:
    from django.db import connections

    # What the checks of the start opened; each worker opens its own.
    connections.close_all()
    # Connections have these limits from the socket that they came by.
    for listener in server.LISTENERS:
        for option, seconds in (
            (socket.SO_RCVTIMEO, RECEIVE_SECONDS),
            (socket.SO_SNDTIMEO, SEND_SECONDS),
        ):
            listener.sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", seconds, 0))


class NoPandas:
    """A finder of modules that finds none of that name."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(f"{name} is not imported here", name=name)


def let_pyarrow_go_without_pandas() -> None:
    """pyarrow imports pandas at its first array, and again never: 30 MB, and no route uses it."""
    import pyarrow

    sys.meta_path.insert(0, NoPandas)
    try:
        pyarrow.array([0])
    finally:
        sys.meta_path.remove(NoPandas)


def on_starting(server: Any) -> None:
    """Before the port is opened and workers are made."""
    let_pyarrow_go_without_pandas()
    # What is loaded now stays: the garbage collector need not look at it again and again, nor
    # begin anew with every few documents.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


def child_exit(server: Any, worker: Any) -> None:
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"])
