"""Database triggers that refuse to change or to remove audit events.

They are put in place after each migration, because SQLite rebuilds a table that is
altered and loses the triggers of the old one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction

TABLE = "policies_auditevent"
REFUSED = "audit events are append-only"

SQLITE = [
    f"CREATE TRIGGER IF NOT EXISTS audit_no_{action} BEFORE {action} ON {TABLE}"
    f" BEGIN SELECT RAISE(ABORT, '{REFUSED}'); END"
    for action in ("update", "delete")
]
POSTGRESQL = [
    "CREATE OR REPLACE FUNCTION audit_append_only() RETURNS trigger AS $$"
    f" BEGIN RAISE EXCEPTION '{REFUSED}'; END $$ LANGUAGE plpgsql",
    *(
        f"CREATE OR REPLACE TRIGGER audit_no_{action} BEFORE {action} ON {TABLE}"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()"
        for action in ("update", "delete", "truncate")
    ),
]


def install() -> None:
    """Puts the triggers in place; they may be there already."""
    statements = {"sqlite": SQLITE, "postgresql": POSTGRESQL}.get(connection.vendor, [])
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def remove() -> None:
    on_table = f" ON {TABLE}" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        for action in ("update", "delete", "truncate"):
            cursor.execute(f"DROP TRIGGER IF EXISTS audit_no_{action}{on_table}")


@contextmanager
def lifted() -> Iterator[None]:
    """Without the triggers, in a transaction that puts them back."""
    with transaction.atomic():
        remove()
        yield
        install()


def after_migrate(using: str, plan: Any = None, **kwargs: Any) -> None:
    # Without a plan it is `flush` that calls, not `migrate`.
    if using == "default" and plan is not None:
        install()
