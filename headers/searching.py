"""From the terms that people type to what is wanted of the run index."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from django.db.models import F, Q
from django.utils import timezone

from headers.annotations.marks import Person, starred_by, tagged
from headers.catalogs import Catalog
from headers.find import FindError, Term, is_beam_time, scan_ids, times_of
from headers.index.listing import LAST_LETTER, Entry, Listing, Wanted
from headers.index.models import RunValue
from headers.index.names import plans_with, samples_with, values_with
from headers.index.rows import WORD
from headers.index.sums import DAY, WholeNumber
from headers.index.words import runs_with
from policies.models import Membership, User
from policies.rule.proposal_paths import INT64

STATUSES = {
    "success": "success",
    "complete": "success",
    "fail": "fail",
    "failed": "fail",
    "abort": "abort",
    "aborted": "abort",
    "open": "open",
}
"""what is typed → the exit status"""
NOTHING = Q(pk__in=[])


def found_by(
    terms: Sequence[Term],
    wanted: Wanted,
    listing: Listing,
    catalogs: Sequence[Catalog],
    person: Person,
) -> Wanted:
    """The same with these terms, which must all hold; of one field one of its terms.

    Days are those of each catalog's time zone. FindError where a term cannot be meant.
    """
    for kind, condition in _CONDITIONS.items():
        if some := [term for term in terms if term.kind == kind]:
            either = Q()
            for term in some:
                either |= condition(term)
            wanted = replace(wanted, also=wanted.also & either)
    if any(term.kind == "is" for term in terms):
        wanted = replace(wanted, also=wanted.also & _is(terms, person))
    if some := [term for term in terms if term.kind == "catalog"]:
        wanted = replace(wanted, also=wanted.also & _catalogs(some, catalogs))
    for term in terms:
        if term.kind == "word":
            wanted = _with_word(term, wanted)
        elif is_beam_time(term):
            wanted = _in_beam_time(wanted, terms, listing, person)
        elif term.kind in ("days", "since", "before"):
            wanted = _in_days(term, wanted, catalogs)
    return wanted


# -- fields ----------------------------------------------------------------------------------


def _plan(term: Term) -> Q:
    names = [term.value] if term.whole else plans_with(term.value)
    return Q(plan_name__icontains=term.value) if names is None else Q(plan_name__in=names)


def _sample(term: Term) -> Q:
    value = term.value.casefold()
    names = [value] if term.whole else samples_with(value)
    return Q(sample__contains=value) if names is None else Q(sample__in=names)


def _values_at(path: str) -> Callable[[Term], Q]:
    def condition(term: Term) -> Q:
        names = values_with(path, term.value)
        if names is None:
            raise FindError("too many names have this in them; type more of it.", term.text)
        if term.whole:
            whole = term.value.casefold()
            names = [name for name in names if str(json.loads(name)).casefold() == whole]
        having = RunValue.objects.filter(path=path, value__in=names)
        return Q(pk__in=having.values("run"))

    return condition


def _status(term: Term) -> Q:
    status = STATUSES.get(term.value.lower())
    if status is None:
        raise FindError("use success, fail, abort or open.", term.text)
    return Q(exit_status=status)


def _scan(term: Term) -> Q:
    first, last = scan_ids(term)
    return Q(scan_id=first) if first == last else Q(scan_id__gte=first, scan_id__lte=last)


def _is(terms: Iterable[Term], person: Person) -> Q:
    for term in terms:
        if term.kind == "is" and term.value.lower() != "starred":
            raise FindError("use is:starred.", term.text)
    return starred_by(person)


_CONDITIONS: Mapping[str, Callable[[Term], Q]] = {
    "plan": _plan,
    "sample": _sample,
    "motor": _values_at("motors"),
    "detector": _values_at("detectors"),
    "proposal": lambda term: Q(proposal=term.value),
    "status": _status,
    "scan": _scan,
    "tag": lambda term: tagged(term.value, whole=term.whole),
    "uid": lambda term: Q(uid__gte=term.value, uid__lt=term.value + LAST_LETTER),
}


def _catalogs(terms: Iterable[Term], catalogs: Sequence[Catalog]) -> Q:
    found = Q()
    for term in terms:
        part = term.value.casefold()
        names = [c.name for c in catalogs if part in f"{c.name}\n{c.title}".casefold()]
        if not names:
            known = ", ".join(catalog.name for catalog in catalogs)
            raise FindError(f"there are {known}.", term.text)
        found |= Q(catalog__in=names)
    return found


# -- words -----------------------------------------------------------------------------------


def _with_word(term: Term, wanted: Wanted) -> Wanted:
    """A word of any text of the run, or a part of the name of its plan or sample.

    The full-text index finds words by their beginnings; what has it elsewhere is found by name.
    """
    plans, samples = plans_with(term.value), samples_with(term.value)
    others = Q()
    if plans is None or (plans := [name for name in plans if not _begins(term.value, name)]):
        others |= Q(plan_name__icontains=term.value) if plans is None else Q(plan_name__in=plans)
    if samples is None or (samples := [name for name in samples if not _begins(term.value, name)]):
        sample = term.value.casefold()
        others |= Q(sample__contains=sample) if samples is None else Q(sample__in=samples)
    others |= _number(term.value)
    words = runs_with(term.value)
    if words is not None and not others:
        return replace(wanted, search=f"{wanted.search} {term.value}".strip())
    either = others | Q(pk__in=words) if words is not None else others
    return replace(wanted, also=wanted.also & (either or NOTHING))


def _begins(part: str, name: str) -> bool:
    """Do words of the name begin with each word of the part? Then the full-text index has it."""
    words = WORD.findall(name.casefold())
    wanted = WORD.findall(part.casefold())
    return bool(wanted) and all(any(word.startswith(w) for word in words) for w in wanted)


def _number(text: str) -> Q:
    """What a number may be besides a word: a scan id or a proposal."""
    if not (text.isascii() and text.isdecimal()):
        return Q()
    number = int(text) if len(text) < 20 else INT64.stop
    scan = Q(scan_id=number) if number in INT64 else Q()
    return Q(proposal=text) | scan


# -- days ------------------------------------------------------------------------------------


def _in_days(term: Term, wanted: Wanted, catalogs: Sequence[Catalog]) -> Wanted:
    now, since, until = time.time(), dict(wanted.since), dict(wanted.until)
    for catalog in catalogs:
        begin, end = times_of(term, catalog.timezone, now)
        if begin is not None:
            since[catalog.name] = max(begin, since.get(catalog.name, begin))
        if end is not None:
            until[catalog.name] = min(end, until.get(catalog.name, end))
    return replace(wanted, since=since, until=until)


def _in_beam_time(
    wanted: Wanted, terms: Sequence[Term], listing: Listing, person: Person
) -> Wanted:
    """The newest days without a gap of the proposal asked for, else of the caller's newest one."""
    named = [term.value for term in terms if term.kind == "proposal"]
    newest = _newest_of(listing, [wanted.proposal] if wanted.proposal else named, person)
    if newest is None:
        return replace(wanted, also=wanted.also & NOTHING)
    entry, proposal = newest
    begin, end = _days_to(listing, entry, proposal)
    among = Q(time__gte=begin, time__lt=end, proposal=proposal)
    return replace(wanted, also=wanted.also & among)


def _newest_of(
    listing: Listing, proposals: Sequence[str], person: Person
) -> tuple[Entry, str] | None:
    """The newest run of these proposals, or of the caller's, or of any, and its proposal."""
    own = proposals or _own_proposals(person)
    among = Q(proposal__among=own) if own else ~Q(proposal="")
    entries = listing.page(Wanted(also=among), 1)
    if not entries:
        return None
    for rows in listing.rows(Wanted(also=Q(pk=entries[0].key))):
        for proposal in rows.values_list("proposal", flat=True):
            return entries[0], proposal
    return None


def _own_proposals(person: Person) -> list[str]:
    if not isinstance(person, User):
        return []
    current = Q(expires=None) | Q(expires__gt=timezone.now())
    found = Membership.objects.filter(current, user=person)
    return list(found.values_list("proposal__proposal_id", flat=True))


def _days_to(listing: Listing, entry: Entry, proposal: str) -> tuple[float, float]:
    """The days up to that of a run on which its proposal has runs, in its catalog's time zone."""
    zone = listing.sources[entry.source].timezone
    try:
        newest = datetime.fromtimestamp(entry.time, zone)
    except (ValueError, OverflowError, OSError):
        return entry.time, entry.time + DAY
    offset = (newest.utcoffset() or timedelta()).total_seconds()
    sane = Q(time__gte=DAY, time__lte=entry.time)
    days: set[int] = set()
    for rows in listing.rows(Wanted(proposal=proposal, also=sane)):
        day = WholeNumber((F("time") + offset) / float(DAY))
        days |= set(rows.order_by().annotate(day=day).values_list("day", flat=True).distinct())
    before, last = 0, int((entry.time + offset) // DAY)
    while last - before - 1 in days:
        before += 1
    midnight = newest.replace(hour=0, minute=0, second=0, microsecond=0)
    ends = midnight - timedelta(days=before), midnight + timedelta(days=1)
    return ends[0].timestamp(), ends[1].timestamp()
