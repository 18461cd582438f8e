"""gunicorn's worker with threads, for the production server (deploy/gunicorn.conf.py)."""

from django.db import connections
from gunicorn.workers.gthread import ThreadWorker

from broker_site.long_answers import Threads


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Serves short answers beside long ones, and leaves its port at once when it stops.

    gunicorn's own keeps the port until its last answer is written: who connects meanwhile waits,
    and is cut off then.
    """

    def get_thread_pool(self) -> Threads:
        return Threads(self.cfg.threads, connections.close_all)

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if not self.alive:
            self._leave_port()

    def _leave_port(self) -> None:
        """Takes the connections that are made already, and closes the port behind the last."""
        while self.sockets:
            listener, known = self.sockets.pop(), -1
            while self.nr_conns != known:
                known = self.nr_conns
                self.accept(listener)
            listener.close()
