"""Keeps how many runs have a value: RunCount, in the transactions that change the runs.

Whoever changes rows locks the catalog, takes them out of the counts, changes them and puts them
in again. What a row counts for is said once, here, by the row itself.
"""

import json
from collections.abc import Sequence

from django.db import connection

from headers.index.models import RunCount

COUNTED_COLUMNS = ("plan_name", "exit_status", "owner")
"""counted at a path with a dot before, which no path of values begins with"""
OF_ALL = ".*"
"""begins the paths of counts over all proposals, which stand at the proposal of no name"""
_COLUMNS = " ".join(
    f"UNION ALL SELECT '.{name}', source_id, {name}, proposal FROM run"  # noqa: S608
    for name in COUNTED_COLUMNS
)
_CHANGE = f"""
WITH run AS (
    SELECT * FROM run_index_indexedrun WHERE id {{among}} AND time IS NOT NULL
), counted AS (
    SELECT '' AS path, source_id, '' AS value, proposal FROM run
    {_COLUMNS}
    UNION ALL SELECT found.path, run.source_id, found.value, proposal
    FROM run JOIN run_index_runvalue AS found ON found.run_id = run.id
), each AS (
    SELECT path, source_id, value, proposal, count(*) AS runs FROM counted
    WHERE value IS NOT NULL GROUP BY path, source_id, proposal, value
)
INSERT INTO run_index_count (path, source_id, value, proposal, runs)
SELECT path, source_id, value, proposal, %s * runs FROM each UNION ALL
SELECT '{OF_ALL}' || path, source_id, value, '', %s * sum(runs) FROM each
GROUP BY path, source_id, value
ON CONFLICT (path, source_id, proposal, value)
DO UPDATE SET runs = run_index_count.runs + excluded.runs
"""  # noqa: S608


def put_in(runs: Sequence[int]) -> None:
    """Counts these runs, by primary key, as their rows are now."""
    _change(runs, 1)


def take_out(runs: Sequence[int]) -> None:
    """Takes these runs out of the counts, before their rows change."""
    _change(runs, -1)


def forget_counts(source: int) -> None:
    RunCount.objects.filter(source=source)._raw_delete("default")


def _change(runs: Sequence[int], sign: int) -> None:
    if not runs:
        return
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_CHANGE.format(among="= ANY(%s)"), [list(runs), sign, sign])
        else:
            among = "IN (SELECT value FROM json_each(%s))"
            cursor.execute(_CHANGE.format(among=among), [json.dumps(list(runs)), sign, sign])
