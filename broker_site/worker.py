"""The gunicorn worker: threads that stay with a connection as long as its client is busy."""

import select
import threading
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

STAYS_MILLISECONDS = 20


class Worker(ThreadWorker):  # type: ignore[misc]
    """gthread, whose threads wait a moment for the next request of the client they just served.

    gthread gives a connection back to its main thread after each answer, which takes as long
    as a good part of reading a header. Scripts that read run after run are spared that. Only half
    of the threads may stay with a client, and none does while somebody else is in the queue.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # As attributes, settings are found at once; gunicorn asks for dozens at each request.
        settings = {name: setting.get() for name, setting in self.cfg.settings.items()}
        self.cfg.__dict__.update(settings)
        self._may_stay = threading.BoundedSemaphore(self.cfg.threads // 2)

    def handle(self, conn: Any) -> Any:
        """Serves a connection. True: it stays open; False: it ended; else it has sent nothing."""
        outcome = super().handle(conn)
        if outcome is not True or not self._may_stay.acquire(blocking=False):
            return outcome
        try:
            while outcome is True and self._asks_again(conn):
                outcome = super().handle(conn)
        finally:
            self._may_stay.release()
        return outcome

    def _asks_again(self, conn: Any) -> bool:
        # A request that was read ahead gives no sign; gthread looks after it.
        read_ahead = conn.parser.unreader.buf.getvalue()
        if not self.alive or read_ahead or self.tpool._work_queue.qsize():
            return False
        waiting = select.poll()
        waiting.register(conn.sock, select.POLLIN)
        return bool(waiting.poll(STAYS_MILLISECONDS))
