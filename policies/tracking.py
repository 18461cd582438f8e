"""Rows that report how they change, in the transaction that changes them.

Policies decide who reads what, so every change to one is told, with the values before
and after: `Tracked` reports saves, `TrackedQuerySet` what goes past `save`, and Django's
own signals deletions and many-to-many changes. `policies.audit` listens.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeVar

from django.db import models, transaction
from django.dispatch import Signal

Values = dict[str, Any]
HIDDEN = "(hidden)"

row_changed = Signal()
"""instance, before, after: field values, before {} for a new row and after {} for one deleted"""

M = TypeVar("M", bound=models.Model)


class Tracked(models.Model):
    """A row whose every change is reported."""

    untracked: ClassVar[frozenset[str]] = frozenset()
    """fields that change all the time and mean nothing"""
    hidden: ClassVar[frozenset[str]] = frozenset()
    """fields of which is told that they changed, never their value"""

    class Meta:
        abstract = True

    def save(self, *args: Any, **options: Any) -> None:
        fields = options.get("update_fields")
        if fields is not None and set(fields) <= self.untracked:
            super().save(*args, **options)
            return
        with transaction.atomic():
            before = {} if self._state.adding else stored_values(type(self), [self.pk]).get(self.pk)
            super().save(*args, **options)
            after = stored_values(type(self), [self.pk])[self.pk]
            report(self, before or {}, after)


class TrackedQuerySet(models.QuerySet[M]):
    """A query set whose bulk changes are reported row by row."""

    def update(self, **values: Any) -> int:
        if not issubclass(self.model, Tracked) or set(values) <= self.model.untracked:
            return super().update(**values)
        with transaction.atomic(using=self.db):
            rows = {row.pk: row for row in self.all()}
            before = stored_values(self.model, rows)
            count = super().update(**values)
            after = stored_values(self.model, rows)
            for key, row in rows.items():
                report(row, before[key], after[key])
        return count

    def bulk_create(self, objs: Iterable[M], *args: Any, **options: Any) -> list[M]:
        with transaction.atomic(using=self.db):
            created = super().bulk_create(objs, *args, **options)
            for row in created:
                report(row, {}, values_of(row))
        return created


def report(row: models.Model, before: Values, after: Values) -> None:
    """Tells the listeners, if anything differs."""
    if before != after:
        row_changed.send(sender=type(row), instance=row, before=before, after=after)


def stored_values(model: type[models.Model], keys: Iterable[Any]) -> dict[Any, Values]:
    """The tracked values of these rows as they are in the database, by primary key."""
    rows = model._default_manager.filter(pk__in=list(keys))
    return {row.pk: values_of(row) for row in rows}


def values_of(row: models.Model) -> Values:
    untracked = row.untracked if isinstance(row, Tracked) else frozenset()
    fields = (field for field in row._meta.concrete_fields if field.name not in untracked)
    return {field.name: field.value_from_object(row) for field in fields}


def differences(
    before: Values, after: Values, hidden: frozenset[str] = frozenset()
) -> Mapping[str, list[Any]]:
    """`{field: [before, after]}` of what differs; a hidden value shows only that it does."""
    names = [name for name in before | after if before.get(name) != after.get(name)]
    return {
        name: [HIDDEN, HIDDEN] if name in hidden else [before.get(name), after.get(name)]
        for name in names
    }
