"""Where the time of a request went, told in the Server-Timing header."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

phases: ContextVar[dict[str, float] | None] = ContextVar("phases", default=None)
"""seconds per phase of the request at hand; None outside of one"""


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Adds the time of a block to a phase."""
    begin = time.perf_counter()
    try:
        yield
    finally:
        known = phases.get()
        if known is not None:
            known[name] = known.get(name, 0.0) + time.perf_counter() - begin


def server_timing(seconds: dict[str, float]) -> str:
    return ", ".join(f"{name};dur={value * 1000:.2f}" for name, value in seconds.items())
