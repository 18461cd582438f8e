"""What the pages tell of a run at a glance, whatever shape its documents have."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headers.repositories import Run

MAX_LABEL = 120
STATUSES = {
    "success": "complete",
    "fail": "failed",
    "abort": "aborted",
    "open": "open",
    "unknown": "ended",
}


@dataclass(frozen=True)
class Summary:
    uid: str | None
    key: str | None
    """what the address of its page has; None if it cannot have one"""
    """None: the run can be listed but not be asked for"""
    began: datetime | None
    """in the catalog's time zone"""
    seconds: float | None
    """how long it took; None while it is open"""
    status: str
    """a key of STATUSES"""
    plan: str
    scan_id: str
    sample: str
    purpose: str
    who: str
    proposal: str
    catalog: str
    """the catalog's title"""
    reason: str
    """why it failed or was aborted"""

    @property
    def status_label(self) -> str:
        return STATUSES[self.status]

    @property
    def day(self) -> str:
        return f"{self.began:%Y-%m-%d}" if self.began else ""

    @property
    def clock(self) -> str:
        return f"{self.began:%H:%M}" if self.began else ""

    @property
    def zone(self) -> str:
        return f"{self.began:%Z}" if self.began else ""

    @property
    def title(self) -> str:
        number = f" #{self.scan_id}" if self.scan_id else ""
        return f"{self.plan or 'Run'}{number}"

    @property
    def caption(self) -> str:
        """What a picture of the run's data needs beside it to be understood on its own."""
        began = " ".join(filter(None, (self.day, self.clock, self.zone)))
        return " · ".join(filter(None, (self.title, self.sample, began, self.catalog)))


def summarize(run: Run) -> Summary:
    start, stop = run.start, run.stop or {}
    return Summary(
        uid=run.uid,
        key=run.key,
        began=_moment(run, start.get("time")),
        seconds=_seconds(start.get("time"), stop.get("time")),
        status=status_of(run),
        plan=label(start.get("plan_name")),
        scan_id=label(start.get("scan_id")),
        sample=label(start.get("sample")) or label(start.get("sample_name")),
        purpose=label(start.get("purpose")) or label(start.get("title")),
        who=label(start.get("operator")) or label(start.get("username")),
        proposal=run.proposal or "",
        catalog=run.catalog.title,
        reason=label(stop.get("reason"), 1000),
    )


def status_of(run: Run) -> str:
    if run.stop is None:
        return "open"
    status = run.stop.get("exit_status")
    return status if status in ("success", "fail", "abort") else "unknown"


def label(value: Any, length: int = MAX_LABEL) -> str:
    """One line of text for a text, a number, or a document with a name; else nothing."""
    if isinstance(value, dict):
        value = value.get("name")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = " ".join(str(value).split())
    return text if len(text) <= length else text[: length - 1] + "…"


def _moment(run: Run, time: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(time, run.catalog.timezone)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _seconds(begin: Any, end: Any) -> float | None:
    if isinstance(begin, int | float) and isinstance(end, int | float) and end >= begin:
        return float(end - begin)
    return None
