"""Notes, stars and tags of runs: who sees them, and who may write them.

Whoever may read a run sees its notes and tags; a star is seen by its owner alone. Notes and tags
are written by members of the run's proposal, staff of its beamline and data admins, and not by
those who read a run only because it is public. Everything begins with a run that the caller may
read, so a lost right takes all of it away.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.contrib.auth.models import AnonymousUser
from django.db import IntegrityError, transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from broker_site.problems import Problem
from headers.annotations.models import RunNote, RunStar, RunTag
from headers.index.listing import Listing, Wanted
from headers.repositories import Run
from policies.audit import Kind, record
from policies.models import Membership, User
from policies.rule.access import Access

MOST_NOTES, MOST_TAGS, MOST_STARS = 200, 30, 5000
"""of a run; of a person"""
Person = User | AnonymousUser


@dataclass
class Marks:
    """What is known of a run beside its documents."""

    starred: bool = False
    tags: list[RunTag] = field(default_factory=list)
    notes: list[RunNote] = field(default_factory=list)
    """oldest first"""


@dataclass
class MarkSummary:
    """The same in a list."""

    starred: bool = False
    tags: list[str] = field(default_factory=list)
    notes: int = 0


# -- reading ---------------------------------------------------------------------------------


def marks_of(run: Run, person: Person) -> Marks:
    about = _about(run)
    stars = RunStar.objects.filter(about, user=person) if isinstance(person, User) else None
    return Marks(
        starred=stars is not None and stars.exists(),
        tags=list(RunTag.objects.filter(about).order_by("name")[:MOST_TAGS]),
        notes=list(RunNote.objects.filter(about).order_by("created", "pk")[:MOST_NOTES]),
    )


def glances(runs: Sequence[Run], person: Person) -> dict[tuple[str, str], MarkSummary]:
    """Of runs that the person may read, by catalog and uid; those without any are left out."""
    found: dict[tuple[str, str], MarkSummary] = defaultdict(MarkSummary)
    uids = [run.uid for run in runs if run.uid is not None]
    if isinstance(person, User):
        stars = RunStar.objects.filter(user=person, run_uid__in=uids)
        for catalog, uid in stars.values_list("catalog", "run_uid"):
            found[catalog, uid].starred = True
    tags = RunTag.objects.filter(run_uid__in=uids).order_by("name")
    for catalog, uid, name in tags.values_list("catalog", "run_uid", "name"):
        found[catalog, uid].tags.append(name)
    notes = RunNote.objects.filter(run_uid__in=uids).order_by()
    for catalog, uid, count in notes.values_list("catalog", "run_uid").annotate(Count("pk")):
        found[catalog, uid].notes = count
    return found


def starred_by(person: Person) -> Q:
    """The condition on rows of the index that the person has starred the run."""
    if not isinstance(person, User):
        return Q(pk__in=[])
    return _having(RunStar.objects.filter(user=person))


def tagged(name: str, *, whole: bool) -> Q:
    """The condition that a run has a tag of this name, or with this in its name."""
    folded = name.casefold()
    tags = (
        RunTag.objects.filter(name=folded)
        if whole
        else RunTag.objects.filter(name__contains=folded)
    )
    return _having(tags)


def tag_counts(listing: Listing, wanted: Wanted) -> list[tuple[str, int]]:
    """The tags of the runs that are wanted and may be read, and how many have each."""
    counts: dict[str, int] = defaultdict(int)
    for rows in listing.rows(wanted):
        run = rows.filter(uid=OuterRef("run_uid"), catalog=OuterRef("catalog"))
        grouped = RunTag.objects.filter(Exists(run)).order_by().values_list("name")
        for name, count in grouped.annotate(Count("pk")):
            counts[name] += count
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _having(marks: "QuerySet[RunStar] | QuerySet[RunTag]") -> Q:
    of_run = marks.filter(catalog=OuterRef("catalog"), run_uid=OuterRef("uid"))
    return Q(uid__in=marks.order_by().values("run_uid")) & Q(Exists(of_run))


def _about(run: Run) -> Q:
    return Q(catalog=run.catalog.name, run_uid=run.uid)


# -- writing ---------------------------------------------------------------------------------


def may_write(run: Run, person: Person, access: Access) -> bool:
    """May this person write notes and tags about a run that they may read?"""
    if not isinstance(person, User):
        return False
    if access.data_admin or run.catalog.beamline in access.beamlines:
        return True
    own = Membership.objects.current().filter(
        user=person, proposal__proposal_id=run.proposal, proposal__locked=False
    )
    return bool(run.proposal) and own.exists()


def set_star(run: Run, person: User, starred: bool) -> None:
    with transaction.atomic():
        known = RunStar.objects.filter(_about(run), user=person)
        if not starred:
            known.delete()
        elif not known.exists():
            if RunStar.objects.filter(user=person).count() >= MOST_STARS:
                raise Problem(409, f"You have {MOST_STARS} stars; take some away first.")
            _once(RunStar(catalog=run.catalog.name, run_uid=str(run.uid), user=person))


def add_tag(run: Run, person: User, access: Access, name: str) -> None:
    """Tags a run; nothing happens where it has the tag. Problem 403, 409."""
    _require_writer(run, person, access)
    with transaction.atomic():
        known = RunTag.objects.filter(_about(run))
        if known.filter(name=name).exists():
            return
        if known.count() >= MOST_TAGS:
            raise Problem(409, f"A run has at most {MOST_TAGS} tags; take one away first.")
        tag = RunTag(catalog=run.catalog.name, run_uid=str(run.uid), name=name)
        tag.author = person.get_username()
        _once(tag)
        _tell(run, "tag added", tag=name)


def remove_tag(run: Run, person: User, access: Access, name: str) -> None:
    """Whoever may tag a run may take tags away, their own and others'."""
    _require_writer(run, person, access)
    with transaction.atomic():
        if RunTag.objects.filter(_about(run), name=name).delete()[0]:
            _tell(run, "tag removed", tag=name)


def add_note(run: Run, person: User, access: Access, text: str) -> RunNote:
    _require_writer(run, person, access)
    with transaction.atomic():
        if RunNote.objects.filter(_about(run)).count() >= MOST_NOTES:
            raise Problem(409, f"A run has at most {MOST_NOTES} notes; take one away first.")
        note = RunNote(catalog=run.catalog.name, run_uid=str(run.uid), text=text)
        note.author, note.author_pk = person.get_username(), person.pk
        note.save()
        _tell(run, "note added", note=note.pk)
    return note


def remove_note(run: Run, person: User, access: Access, number: int) -> None:
    """One's own note; those of others are removed by data admins. Problem 403, 404."""
    with transaction.atomic():
        note = RunNote.objects.filter(_about(run), pk=number).first()
        if note is None:
            raise Problem(404, "This run has no such note.")
        if note.author_pk != person.pk and not access.data_admin:
            raise Problem(403, "Only its author and data admins may remove a note.")
        note.delete()
        _tell(run, "note removed", note=number, author=note.author)


def _require_writer(run: Run, person: User, access: Access) -> None:
    if not may_write(run, person, access):
        raise Problem(
            403,
            "Notes and tags are written by members of the run's proposal, staff of its beamline "
            "and data admins.",
        )


def _once(mark: RunStar | RunTag) -> None:
    """Stores it, unless another request has just done so."""
    try:
        with transaction.atomic():
            mark.save()
    except IntegrityError:
        return


def _tell(run: Run, result: str, **details: object) -> None:
    about = {"catalog": run.catalog.name, "run_uid": str(run.uid)[:100]}
    record(
        Kind.WRITTEN, result=result, proposal=(run.proposal or "")[:100], details=details, **about
    )
