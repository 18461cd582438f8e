"""The production server: `gunicorn --config deploy/gunicorn.conf.py broker_site.wsgi`.

Threads, because a request mostly waits for MongoDB or for a slow client; a thread
that streams to a slow client does not keep the others from working.
"""

import gc
import os
import shutil
import socket
import struct
import tempfile
from typing import Any

# Where the workers keep their counts, so that /metrics tells those of all of them. Set
# before prometheus_client is imported, which looks then.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="broker-metrics-")

bind = os.environ.get("BROKER_BIND", f"127.0.0.1:{os.environ.get('PORT', '8000')}")
# Files, sockets and their folders are the service's alone.
umask = 0o077
limit_request_line = 8190
# gunicorn itself believes no header about where a request came from; the service believes as many
# proxies as BROKER_NUM_PROXIES says.
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
worker_class = "gthread"
workers = int(os.environ.get("BROKER_WORKERS", "2"))
threads = int(os.environ.get("BROKER_THREADS", "16"))
keepalive = 75  # longer than a load balancer's, so that it is not we who close first
timeout = 60
graceful_timeout = 30
# The service's own log has one line per request, without query values.
accesslog = None
# Wrong settings end the server at once, with their one line, instead of restarting workers.
preload_app = False


# A client that sends nothing, or takes nothing, for so long gives its thread back. Threads are
# few: without this, as many idle connections as there are threads stop the service.
RECEIVE_SECONDS = 20
SEND_SECONDS = 120  # who reads a stream may think about it in between


def when_ready(server: Any) -> None:
    # Connections have these limits from the socket that they came by.
    for listener in server.LISTENERS:
        for option, seconds in (
            (socket.SO_RCVTIMEO, RECEIVE_SECONDS),
            (socket.SO_SNDTIMEO, SEND_SECONDS),
        ):
            listener.sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", seconds, 0))


def post_worker_init(worker: Any) -> None:
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
