"""The data-rate study as a table for the terminal, as JSON, and as a page with plots.

The page is one file: styles and pictures (SVG) are in it, and no script.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from html import escape

from broker_site.encoding import to_json
from staff.rates import CatalogRates, Spread, StreamRates

WIDTH, HEIGHT, MARGIN = 640, 140, 36
MAX_BARS = 160
MEASURES: tuple[tuple[str, str, Callable[[StreamRates], Spread]], ...] = (
    ("events/run", "", lambda stream: stream.events_per_run),
    ("event rate", "Hz", lambda stream: stream.event_rate),
    ("inline/event", "B", lambda stream: stream.inline_bytes_per_event),
    ("external/event", "B", lambda stream: stream.external_bytes_per_event),
    ("data rate", "B/s", lambda stream: stream.bytes_per_second),
)


def as_json(studies: Sequence[CatalogRates]) -> str:
    return to_json([study.as_dict() for study in studies]).decode()


def as_table(studies: Sequence[CatalogRates]) -> str:
    """Plain text; one line a measure."""
    return "\n\n".join("\n".join(_lines(study)) for study in studies)


def _lines(study: CatalogRates) -> Iterator[str]:
    yield f"{study.catalog}: {_summary(study)}"
    head = ("", "median", "p95", "max")
    rows = [head, ("runs/day", *_cells(study.runs_per_day, ""))]
    yield from map(_row, rows)
    for stream in study.streams:
        yield f"  stream {stream.name}, in {stream.runs} of the sampled runs: {stream.advice}"
        yield from (_row((name, *_cells(spread(stream), u))) for name, u, spread in MEASURES)


def _row(cells: Sequence[str]) -> str:
    name, *values = cells
    return f"    {name:<16}" + "".join(f"{value:>14}" for value in values)


def _summary(study: CatalogRates) -> str:
    bounded = "the newest " if study.truncated else ""
    days = len(study.days)
    return f"{bounded}{study.runs:,} runs on {days:,} days, {study.sampled:,} looked into"


def _cells(spread: Spread, unit: str) -> list[str]:
    return [number(value, unit) for value in (spread.median, spread.p95, spread.max)]


def number(value: float | None, unit: str = "") -> str:
    """A quantity for people: 3 digits, with k, M, G, T."""
    if value is None:
        return "-"
    step = min(4, int(math.log(abs(value), 1000))) if abs(value) >= 1000 else 0
    return f"{value / 1000**step:.3g} {('', 'k', 'M', 'G', 'T')[step]}{unit}".strip()


# -- a page ----------------------------------------------------------------------------------

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #1d2733; background: #fff; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #cbd3dc; }
table { border-collapse: collapse; margin: .5rem 0 1rem; }
th, td { padding: .15rem .9rem .15rem 0; text-align: right; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
svg { display: block; margin: .5rem 0; max-width: 100%; }
svg text { font-size: 11px; fill: #4a5868; }
p.note { color: #4a5868; }
"""


def as_html(studies: Sequence[CatalogRates]) -> str:
    """A page of its own."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>Data rates</title><style>{STYLE}</style></head>\n<body><h1>Data rates</h1>\n"
        f"{as_fragment(studies)}\n</body></html>\n"
    )


def as_fragment(studies: Sequence[CatalogRates]) -> str:
    """The content of the page, to be put into another one."""
    return "\n".join(map(_section, studies))


def _section(study: CatalogRates) -> str:
    runs = _table([("runs/day", *_cells(study.runs_per_day, ""))])
    parts = [
        f"<h2>{escape(study.title)} ({escape(study.catalog)})</h2>",
        f'<p class="note">{escape(_summary(study))}. {escape(_method())}</p>',
        runs,
        bars(study.days),
        *map(_stream, study.streams),
    ]
    return "\n".join(parts)


def _method() -> str:
    return (
        "Rates are events over the time from start to stop of a run; bytes are shape x type of "
        "the data keys. Days without runs do not count."
    )


def _stream(stream: StreamRates) -> str:
    rows = [(name, *_cells(spread(stream), unit)) for name, unit, spread in MEASURES]
    sources = "; ".join(
        f"{source.source} → {source.route}: {', '.join(source.fields)}"
        for source in stream.event_sources
    )
    plots = [
        deciles(f"{name}, {unit}" if unit else name, spread(stream), unit)
        for name, unit, spread in MEASURES
        if name in ("events/run", "event rate", "data rate")
    ]
    return "\n".join(
        [
            f"<h3>Stream {escape(stream.name)}, in {stream.runs} runs</h3>",
            _table(rows),
            f"<p>{escape(stream.advice)}</p>",
            f'<p class="note">{escape(sources)}</p>',
            *plots,
        ]
    )


def _table(rows: Iterable[Sequence[str]]) -> str:
    body = "".join(
        f"<tr><td>{escape(name)}</td>{''.join(f'<td>{escape(v)}</td>' for v in values)}</tr>"
        for name, *values in rows
    )
    return (
        "<table><thead><tr><th></th><th>median</th><th>p95</th><th>max</th></tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def bars(days: Mapping[str, int]) -> str:
    """Runs over time; days are put together where they are too many for a bar each."""
    if not days:
        return ""
    ordinals = {date.fromisoformat(day).toordinal(): count for day, count in days.items()}
    first, last = min(ordinals), max(ordinals)
    width = -(-(last - first + 1) // MAX_BARS)
    sums = [0] * ((last - first) // width + 1)
    for day, count in ordinals.items():
        sums[(day - first) // width] += count
    step = (WIDTH - 2 * MARGIN) / len(sums)
    top = max(sums)
    rects = "".join(
        f'<rect x="{MARGIN + place * step:.1f}" y="{_height(count / top):.1f}" '
        f'width="{max(step - 1, 0.8):.1f}" height="{_height(0) - _height(count / top):.1f}" '
        'fill="#2f6fb2"/>'
        for place, count in enumerate(sums)
        if count
    )
    per = "day" if width == 1 else f"{width} days"
    ends = (date.fromordinal(first).isoformat(), date.fromordinal(last).isoformat())
    return _plot(f"runs per {per}", rects, ends, f"{top:,}")


def deciles(title: str, spread: Spread, unit: str) -> str:
    """How many runs (up) have at most so much (right, logarithmic)."""
    known = [value for value in spread.deciles if value > 0]
    if not known:
        return ""
    low, high = math.log10(min(known)), math.log10(max(known))
    span = (high - low) or 1.0

    def right(value: float) -> float:
        place = (math.log10(value) - low) / span if value > 0 else 0.0
        return MARGIN + place * (WIDTH - 2 * MARGIN)

    points = " ".join(
        f"{right(value):.1f},{_height(share / 10):.1f}"
        for share, value in enumerate(spread.deciles)
    )
    line = f'<polyline points="{points}" fill="none" stroke="#2f6fb2" stroke-width="2"/>'
    return _plot(title, line, (number(min(known), unit), number(max(known), unit)), "100 %")


def _height(share: float) -> float:
    return HEIGHT - MARGIN / 2 - share * (HEIGHT - MARGIN)


def _plot(title: str, content: str, ends: tuple[str, str], top: str) -> str:
    base = _height(0)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(title)}"><text x="{MARGIN}" y="12">{escape(title)}</text>'
        f'<line x1="{MARGIN}" y1="{base}" x2="{WIDTH - MARGIN}" y2="{base}" stroke="#8794a3"/>'
        f'{content}<text x="{MARGIN}" y="{HEIGHT - 4}">{escape(ends[0])}</text>'
        f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - 4}" text-anchor="end">{escape(ends[1])}</text>'
        f'<text x="{MARGIN - 4}" y="{_height(1) + 4}" text-anchor="end">{escape(top)}</text></svg>'
    )
