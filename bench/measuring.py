"""Ratios measured side by side: the local script and the service take turns in one run."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

Action = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One line of the table: how many times what a local script needs the service takes."""

    name: str
    local_ms: float
    service_ms: float
    target: str = ""
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.service_ms / self.local_ms


def side_by_side(
    name: str, local: Action, service: Action, repeat: int, target: str = "", rounds: int = 7
) -> Row:
    """The medians of `rounds` rounds, each of `repeat` calls of the one and of the other."""
    local(), service()  # the first call pays for connections and caches
    pairs = [(_mean_ms(local, repeat), _mean_ms(service, repeat)) for _ in range(rounds)]
    return Row(
        name,
        statistics.median(pair[0] for pair in pairs),
        statistics.median(pair[1] for pair in pairs),
        target,
    )


def _mean_ms(action: Action, repeat: int) -> float:
    begin = time.perf_counter()
    for _ in range(repeat):
        action()
    return (time.perf_counter() - begin) / repeat * 1000


def table(rows: list[Row], local: str = "local", service: str = "service") -> str:
    """local, service: what the columns of times are called."""
    lines = [
        f"| what | {local} ms | {service} ms | ratio | target |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    lines += [
        f"| {row.name} | {row.local_ms:.2f} | {row.service_ms:.2f} | {row.ratio:.2f} × |"
        f" {row.target} |{' ' + row.note if row.note else ''}"
        for row in rows
    ]
    return "\n".join(lines)
