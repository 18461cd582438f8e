"""What is to be done about the SQL database when it does not work."""

import re

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

MISSING_TABLE = re.compile(r"no such (table|column)|(relation|column) .* does not exist")


def lacks_tables(error: Exception) -> bool:
    return isinstance(error, DatabaseError) and bool(MISSING_TABLE.search(str(error)))


def advice(error: Exception) -> str:
    """One line for the operator: what is wrong, and what to do."""
    text = " ".join(str(error).split())
    if lacks_tables(error):
        return f"The database lacks tables or columns ({text}): run `manage.py migrate`."
    return f"DATABASE_URL: the database does not answer, or refuses: {text}"


def complaint() -> str | None:
    """Why the database cannot be used as it is; None if it can."""
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        return advice(error)
    if not missing:
        return None
    return f"The database lacks {len(missing)} migrations: run `manage.py migrate`."
