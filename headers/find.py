"""What people type to find runs, as terms: words, names of fields, days and scan ids.

    grid_scan yesterday sample:fegd 148000-148100 motor:theta "field dependence"

All terms must hold. Plain functions, without Django.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from headers.selection import moment

MAX_TERMS = 16
MAX_TEXT = 500
FIELDS = {
    "plan": "plan",
    "sample": "sample",
    "motor": "motor",
    "detector": "detector",
    "det": "detector",
    "tag": "tag",
    "is": "is",
    "proposal": "proposal",
    "status": "status",
    "catalog": "catalog",
    "scan": "scan",
    "uid": "uid",
    "day": "days",
    "since": "since",
    "before": "before",
}
"""the name of a field as it is typed → the kind of its term"""
_UNITS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}
_PHRASES = (
    r"last\s+night|(?:this|last)\s+(?:week|month)|last\s+\d{1,4}\s+(?:hour|day|week)s?"
    r"|(?:this\s+)?beam\s?time|today|yesterday"
)
_DAY = r"(?:19|20)\d\d-(?:0[1-9]|1[0-2])(?:-(?:0[1-9]|[12]\d|3[01]))?"
_DAYS = re.compile(rf"({_DAY})(?:\.\.({_DAY}))?")
_SCANS = re.compile(r"#?(\d{1,18})(?:(?:-|–|\.\.)#?(\d{1,18}))?")
_TERM = re.compile(
    rf"(?P<days>{_PHRASES})(?!\S)"
    rf"|(?P<field>{'|'.join(FIELDS)}):\s*(?:\"(?P<whole>[^\"]*)\"?|(?P<value>{_PHRASES}|\S*))"
    r"|\"(?P<quoted>[^\"]*)\"?|(?P<word>\S+)",
    re.IGNORECASE,
)


class FindError(ValueError):
    """A term that cannot be meant; the message says what to type instead.

    `term` is as it was typed; empty where no single one is at fault.
    """

    def __init__(self, message: str, term: str = "") -> None:
        super().__init__(f"{term}: {message}" if term else message)
        self.term = term


@dataclass(frozen=True)
class Term:
    """One thing that must hold of a run."""

    kind: str
    """"word", or a value of FIELDS"""
    value: str
    text: str
    """as it was typed"""
    whole: bool = False
    """the value is all of a name, not a part of one"""


def terms_of(texts: Iterable[str]) -> list[Term]:
    """The terms of what was typed, each once. FindError where there are too many."""
    found = list(dict.fromkeys(term for text in texts for term in _terms(text)))
    if len(found) > MAX_TERMS:
        raise FindError(f"use at most {MAX_TERMS} words or conditions.")
    return found


def _terms(text: str) -> Iterator[Term]:
    if len(text) > MAX_TEXT:
        raise FindError(f"use at most {MAX_TEXT} characters.")
    for found in _TERM.finditer(text):
        typed = found.group()
        if found["field"]:
            whole = found["whole"] is not None
            value = (found["whole"] if whole else found["value"]).strip()
            kind = FIELDS[found["field"].lower()]
            if not value:
                raise FindError("say which one right behind the colon.", typed)
            yield Term(kind, value, typed, whole)
        elif found["days"]:
            yield Term("days", found["days"], typed)
        elif (words := found["quoted"] if found["quoted"] is not None else found["word"]).strip():
            yield Term(_kind_of_word(words), words, typed)


def _kind_of_word(word: str) -> str:
    if _DAYS.fullmatch(word):
        return "days"
    scans = _SCANS.fullmatch(word)
    # A single number may be a scan id, a proposal or a part of a name.
    return "scan" if scans and (scans[2] or word.startswith("#")) else "word"


def is_beam_time(term: Term) -> bool:
    return term.kind == "days" and re.sub(r"\s+", "", term.value.lower()) in (
        "beamtime",
        "thisbeamtime",
    )


def scan_ids(term: Term) -> tuple[int, int]:
    """The first and the last scan id. FindError if the value is none."""
    found = _SCANS.fullmatch(term.value)
    if found is None:
        raise FindError("use scan:148000 or scan:148000-148100.", term.text)
    ends = int(found[1]), int(found[2] or found[1])
    return min(ends), max(ends)


def times_of(term: Term, zone: ZoneInfo, now: float) -> tuple[float | None, float | None]:
    """From when (inclusive) until when (exclusive) a term of days is, in epoch seconds.

    Days are those of a time zone; None: no bound. FindError where the value is no time.
    """
    try:
        if term.kind == "since":
            return moment(term.value, zone), None
        if term.kind == "before":
            return None, moment(term.value, zone)
        return _bounds(re.sub(r"\s+", " ", term.value.lower()), zone, now)
    except (ValueError, OverflowError):
        raise FindError(
            "use today, yesterday, last night, this week, last 3 days, this beam time, "
            "2026-07, 2026-07-04 or 2026-07-01..2026-07-04.",
            term.text,
        ) from None


def _bounds(days: str, zone: ZoneInfo, now: float) -> tuple[float | None, float | None]:
    at = datetime.fromtimestamp(now, zone)
    today = at.replace(hour=0, minute=0, second=0, microsecond=0)
    monday, first = today - timedelta(days=today.weekday()), today.replace(day=1)
    evening = (today if at.hour >= 18 else today - timedelta(days=1)).replace(hour=18)
    named: dict[str, tuple[datetime, datetime | None]] = {
        "today": (today, today + timedelta(days=1)),
        "yesterday": (today - timedelta(days=1), today),
        "last night": (evening, (evening + timedelta(days=1)).replace(hour=8)),
        "this week": (monday, None),
        "last week": (monday - timedelta(weeks=1), monday),
        "this month": (first, None),
        "last month": ((first - timedelta(days=1)).replace(day=1), first),
    }
    if days in named:
        begin, end = named[days]
        return begin.timestamp(), end.timestamp() if end else None
    if ago := re.fullmatch(r"last (\d+) (hour|day|week)s?", days):
        return now - int(ago[1]) * _UNITS[ago[2]].total_seconds(), None
    found = _DAYS.fullmatch(days)
    if found is None:
        raise ValueError(days)
    return moment(found[1], zone), _end_of(found[2] or found[1], zone)


def _end_of(day: str, zone: ZoneInfo) -> float:
    """The end of a day, `2026-07-04`, or of a month, `2026-07`."""
    begin = datetime.fromisoformat(day if len(day) > 7 else f"{day}-01").replace(tzinfo=zone)
    if len(day) > 7:
        return (begin + timedelta(days=1)).timestamp()
    return (begin + timedelta(days=31)).replace(day=1).timestamp()
