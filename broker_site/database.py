"""What is to be done about the SQL database when it does not work."""

import re
from concurrent.futures import ThreadPoolExecutor

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


def complaint_at_start() -> str | None:
    """The same where a server begins inside of an event loop, in which Django asks no database."""
    with ThreadPoolExecutor(max_workers=1) as threads:
        return threads.submit(_and_close).result()


def _and_close() -> str | None:
    try:
        return complaint()
    finally:
        connection.close()  # it is of a thread that ends
