"""The production server: `gunicorn --config deploy/gunicorn.conf.py broker_site.wsgi`.

Threads, because a request mostly waits for MongoDB or for a slow client; a thread
that streams to a slow client does not keep the others from working.
"""

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


# A client that neither sends nor takes anything for so long gives its thread back. Threads
# are few: without this, as many idle connections as there are threads stop the service.
IDLE_SECONDS = int(os.environ.get("BROKER_IDLE_SECONDS", "20"))


def when_ready(server: Any) -> None:
    limit = struct.pack("ll", IDLE_SECONDS, 0)  # connections have it from the socket they came by
    for listener in server.LISTENERS:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def child_exit(server: Any, worker: Any) -> None:
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"])
