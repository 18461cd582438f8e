"""Times and statuses that callers select runs by, and the texts of documents."""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

_DATE = re.compile(r"\d{4}|(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
"""a year, or a day without dashes: as a number of seconds, it would be one of 1970"""
EXIT_STATUSES = ("success", "abort", "fail", "open")


def starting_with(prefix: str) -> dict[str, str]:
    """The bounds of texts that start with a prefix; unlike a pattern, any index serves them."""
    return {"$gte": prefix, "$lt": prefix + "\U0010ffff"}


def texts_of(value: Any) -> Iterator[str]:
    """Every text below a value. Keys are no texts."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def moment(text: str, zone: ZoneInfo) -> float:
    """Epoch seconds of `2026`, `2026-07`, `2026-07-04`, `20260704`, ISO 8601 or an epoch number.

    Without an offset, a date is one of the catalog's time zone. ValueError says what is accepted.
    """
    if not _DATE.fullmatch(text):
        try:
            number = float(text)
        except ValueError:
            return _iso(text, zone)
        if math.isfinite(number):
            return number
    return _iso(text, zone)


def _iso(text: str, zone: ZoneInfo) -> float:
    completed = {4: "-01-01", 7: "-01"}.get(len(text), "") if text.isascii() else ""
    try:
        parsed = datetime.fromisoformat(text + completed)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"{text!r} is not a time; use 2026, 2026-07, 2026-07-04, ISO 8601 or epoch seconds"
        ) from None
