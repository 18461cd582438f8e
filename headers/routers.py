"""Keeps Django's ORM away from writing to the catalogs."""

from typing import Any

from django.db.models import Model

PREFIX = "catalog_"


class CatalogRouter:
    """Refuses writes and migrations on every catalog alias.

    Models of the catalogs name their alias with `using`; nothing is routed there
    by itself, and what is of the SQL database stays there.
    """

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:
        if model._meta.app_label == "headers":
            raise PermissionError(f"{model.__name__} is read-only")
        return None

    def allow_relation(self, first: Model, second: Model, **hints: Any) -> bool | None:
        return first._state.db == second._state.db

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return not db.startswith(PREFIX) and app_label != "headers"
