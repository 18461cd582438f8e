"""A bar for what takes longer than two seconds, where somebody looks on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dbservice.auth import in_notebook

DELAY = 2.0


@contextmanager
def bar(total: int | None, label: str, *, wanted: bool) -> Iterator[Callable[[int], None]]:
    """Gives what to call with each number of bytes that came. No bar in scripts and logs."""
    tqdm = _tqdm() if wanted and (in_notebook() or sys.stderr.isatty()) else None
    if tqdm is None:
        yield lambda count: None
        return
    options = {"unit": "B", "unit_scale": True, "delay": DELAY, "desc": label, "leave": False}
    with tqdm.tqdm(total=total, file=sys.stderr, **options) as shown:
        yield shown.update


def _tqdm() -> Any:
    try:
        import tqdm
    except ImportError:
        return None
    return tqdm
