"""Keeps the proposal in the index what the overrides make of it, in the same transaction."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.db.models import F, Model, QuerySet, Value
from django.db.models.signals import post_delete

from headers.index.counts import put_in, take_out
from headers.index.models import IndexedRun, Source
from policies.models import Proposal, RunOverride
from policies.tracking import row_changed


def follow_overrides() -> None:
    """Listens to changes of overrides, and of the names of the proposals they lead to."""
    row_changed.connect(_changed, dispatch_uid="run index")
    post_delete.connect(_deleted, sender=RunOverride, dispatch_uid="run index")


def lock_catalog(catalog: str) -> None:
    """Until the end of the transaction, rows and overrides of the catalog change one by one.

    Without it an override that is not committed yet, and a row that is not either, would
    not see each other.
    """
    list(Source.objects.select_for_update().filter(catalog=catalog).order_by("pk"))


def apply_overrides(catalog: str, uids: Iterable[str]) -> None:
    """Sets the proposal of these runs anew. The catalog is locked by then."""
    wanted = set(uids)
    moved: dict[str, set[str]] = defaultdict(set)
    overrides = RunOverride.objects.filter(catalog=catalog)
    for uid, proposal in overrides.values_list("run_uid", "proposal__proposal_id"):
        if uid in wanted:
            moved[proposal].add(uid)
    rows = IndexedRun.objects.filter(catalog=catalog)
    for some in _parts(sorted(wanted.difference(*moved.values()))):
        _move(rows.filter(uid__in=some), F("named_proposal"))
    for proposal, runs in moved.items():
        for some in _parts(sorted(runs)):
            _move(rows.filter(uid__in=some), Value(proposal))


def _move(rows: "QuerySet[IndexedRun]", proposal: F | Value) -> None:
    keys = list(rows.exclude(proposal=proposal).values_list("pk", flat=True))
    take_out(keys)
    IndexedRun.objects.filter(pk__in=keys).update(proposal=proposal)
    put_in(keys)


def _parts(uids: list[str]) -> Iterable[list[str]]:
    return (uids[at : at + 500] for at in range(0, len(uids), 500))


def _changed(instance: Model, before: dict[str, Any], after: dict[str, Any], **_: Any) -> None:
    if isinstance(instance, RunOverride):
        _apply({(row["catalog"], row["run_uid"]) for row in (before, after) if row})
    renamed = before and before.get("proposal_id") != after.get("proposal_id")
    if isinstance(instance, Proposal) and renamed:
        _apply(set(instance.overrides.values_list("catalog", "run_uid")))


def _deleted(instance: RunOverride, **_: Any) -> None:
    _apply({(instance.catalog, instance.run_uid)})


def _apply(runs: set[tuple[str, str]]) -> None:
    by_catalog: dict[str, set[str]] = defaultdict(set)
    for catalog, uid in runs:
        by_catalog[catalog].add(uid)
    with transaction.atomic():
        for catalog in sorted(by_catalog):
            lock_catalog(catalog)
            apply_overrides(catalog, by_catalog[catalog])
