"""Several catalogs asked the same at once."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import structlog

from broker_site.timing import phase
from headers.mongo import CatalogUnavailable
from headers.repositories import Runs

log = structlog.get_logger(__name__)
Answer = TypeVar("Answer")

_threads = ThreadPoolExecutor(max_workers=32, thread_name_prefix="catalog")


def answers_of(repositories: Sequence[Runs], ask: Callable[[Runs], Answer]) -> dict[str, Answer]:
    """The answers of the catalogs that answer, by name, in the order of the repositories."""
    with phase("mongo"):
        # A thread for a lone catalog would cost more than it saves.
        mapped = map if len(repositories) < 2 else _threads.map
        outcomes = list(mapped(partial(_outcome, ask), repositories))
    return dict(outcome for outcome in outcomes if outcome is not None)


def _outcome(ask: Callable[[Runs], Answer], runs: Runs) -> tuple[str, Answer] | None:
    try:
        return runs.catalog.name, ask(runs)
    except CatalogUnavailable as error:
        log.warning("catalog unavailable", catalog=runs.catalog.name, reason=str(error))
        return None
