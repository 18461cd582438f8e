"""Filters for the pages of runs."""

from typing import Any

from django import template

from broker_site.inert import visible

register = template.Library()
UNITS = ("B", "kB", "MB", "GB", "TB")


@register.filter
def inert(value: Any) -> str:
    """Text of a document with nothing hidden in it; still escaped by the template."""
    return visible(str(value))


@register.filter
def duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


@register.filter
def size(count: float | None) -> str:
    """Bytes, roughly: 12 kB, 3.4 MB."""
    if count is None:
        return "size unknown"
    power = 0
    while count >= 1000 and power < len(UNITS) - 1:
        count /= 1000
        power += 1
    return f"{count:.{1 if power and count < 10 else 0}f} {UNITS[power]}"
