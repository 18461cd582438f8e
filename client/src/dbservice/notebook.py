"""How runs look in a notebook. Whatever the documents say is shown as text, never as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from dbservice.facts import RunFacts
from dbservice.listing import Header, records

COLUMNS = ("scan_id", "time", "plan_name", "sample", "stop.exit_status", "uid")
ROWS = 10
POINTS = 200
"""about as many as a thumbnail shows"""
LONGEST = 60
WIDTH, HEIGHT = 240, 80


class Picture:
    """A PNG, which a notebook shows."""

    def __init__(self, png: bytes) -> None:
        self.png = png

    def _repr_png_(self) -> bytes:
        return self.png

    def save(self, target: str) -> None:
        with open(target, "wb") as file:
            file.write(self.png)

    def __repr__(self) -> str:
        return f"<Picture: {len(self.png)} bytes>"


def run_html(run: RunFacts, counts: dict[str, Any], thumbnail: str) -> str:
    """A small table about a run, with a link to its page."""
    start = run.start
    said = {
        "plan": start.get("plan_name"),
        "began": run._began,
        "sample": text_of(start.get("sample")),
        "exit status": run.exit_status,
        "streams": ", ".join(f"{name} ({count})" for name, count in counts.items()),
        "proposal": run.proposal,
        "catalog": run.catalog,
    }
    lines = "".join(
        f"<tr><th style='text-align:left'>{name}</th>"
        f"<td style='text-align:left'>{escape(text_of(value))}</td></tr>"
        for name, value in said.items()
        if value not in (None, "")
    )
    title = f"Run {text_of(run.scan_id)} · {run.uid[:8]}"
    link = f'<a href="{escape(run.url)}" target="_blank" rel="noopener">{escape(title)}</a>'
    return f"<div><b>{link}</b><table>{lines}</table>{thumbnail}</div>"


def runs_html(headers: Sequence[Header], count: int) -> str:
    """The first runs of a list as a table."""
    head = "".join(f"<th>{escape(name)}</th>" for name in COLUMNS)
    cells = (
        "".join(f"<td>{escape(_cell(name, value))}</td>" for name, value in record.items())
        for record in records(headers, COLUMNS)
    )
    lines = "".join(f"<tr>{line}</tr>" for line in cells)
    shown = f"{count} runs" + (f", the first {len(headers)}" if len(headers) < count else "")
    return f"<div>{shown}<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"


def _cell(name: str, value: Any) -> str:
    if name == "time" and isinstance(value, (int, float)):
        return RunFacts({"uid": "", "start": {"time": value}}, "")._began
    if name == "uid":
        return str(value)[:8]
    return text_of(value)


def text_of(value: Any) -> str:
    """One line for a value: the name of a document that has one."""
    if isinstance(value, dict):
        value = value.get("name", "")
    line = " ".join(str("" if value is None else value).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def thumbnail(xs: Iterable[float], ys: Iterable[float], label: str) -> str:
    """A small plot as SVG; nothing where there are fewer than two points."""
    points = [(x, y) for x, y in zip(xs, ys, strict=True) if x == x and y == y]
    if len(points) < 2:
        return ""
    across = _scaled([x for x, _ in points], WIDTH)
    up = _scaled([y for _, y in points], HEIGHT)
    places = zip(across, up, strict=True)
    line = " ".join(f"{x:.1f},{HEIGHT - y:.1f}" for x, y in places)
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(label)}">'
        f'<polyline points="{line}" fill="none" stroke="currentColor"/></svg>'
    )


def _scaled(values: list[float], length: int) -> list[float]:
    low, high = min(values), max(values)
    return [(value - low) / ((high - low) or 1) * length for value in values]
