"""Who gave whom which right when: the audit trail of policies, told in sentences.

What is older than the trail, of which only so many days are kept, comes from the admin's log.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, Q

from policies.audit import COMMAND
from policies.models import AuditEvent, Beamline, Membership, Proposal, User

LONGEST = 100
SCANNED = 1000
"""rows of the trail from which a timeline is made"""
STAFF_LINKS = Beamline.staff.through.__name__
RIGHTS = {
    "data_admin": "data admin",
    "is_superuser": "superuser",
    "is_staff": "allowed into the admin",
    "is_active": "active",
}
STATES = {"locked": "locked", "proprietary": "proprietary"}
ROLES = dict(Membership.Role.choices)
Details = Mapping[str, Any]


@dataclass(frozen=True)
class Grant:
    """Something that changed what somebody may read."""

    time: datetime
    by: str
    what: str
    reason: str


@dataclass(frozen=True)
class Link:
    """People made staff of a beamline, or no longer, as a change of either of them tells it."""

    beamlines: list[str]
    people: list[str]
    verb: str


# -- Of what ---------------------------------------------------------------------------------


def of_proposal(proposal: Proposal) -> list[Grant]:
    """Its members, its locks and its embargo. Which runs were moved to it is told of each run."""
    name = proposal.proposal_id
    rows = _trail(
        Q(details__what="policies.Proposal", details__pk=proposal.pk)
        | Q(details__what="policies.Membership", details__name__endswith=f" in {name}")
    )
    return _grants(rows, _before_the_trail([proposal]))


def of_person(
    user: User, proposals: frozenset[str] | None, beamlines: frozenset[str]
) -> list[Grant]:
    """Their memberships, beamlines and rights, as far as they concern these.

    proposals: None stands for all. beamlines: as texts, see `Beamline.__str__`.
    """
    name = user.get_username()
    rows = _trail(
        Q(details__what="policies.User", details__pk=user.pk)
        | Q(details__what="policies.Membership", details__name__startswith=f"{name} in ")
        | Q(details__what="policies.Beamline", details__of=STAFF_LINKS)
    )

    def concerns(details: Details) -> bool:
        if details["what"] == "policies.Membership":
            member, _, proposal = str(details["name"]).rpartition(" in ")
            return member == name and (proposals is None or proposal in proposals)
        if link := _link(details):
            return name in link.people and not beamlines.isdisjoint(link.beamlines)
        return bool(details["what"] == "policies.User")

    return _grants((row for row in rows if concerns(row.details)), _before_the_trail([user]))


def of_run(uid: str, proposal: Proposal | None, beamline: Beamline | None) -> list[Grant]:
    """Its overrides, the staff of its beamline, and what became of its proposal."""
    rows = _trail(
        Q(details__what="policies.RunOverride", details__name__startswith=f"{uid} → ")
        | Q(details__of=STAFF_LINKS)
    )

    def concerns(details: Details) -> bool:
        if link := _link(details):
            return beamline is not None and str(beamline) in link.beamlines
        return str(details["name"]).rpartition(" → ")[0] == uid

    own = _grants((row for row in rows if concerns(row.details)), [])
    grants = {*own, *(of_proposal(proposal) if proposal else ())}
    return sorted(grants, key=lambda grant: grant.time, reverse=True)[:LONGEST]


def _trail(concerned: Q) -> list[AuditEvent]:
    policies = AuditEvent.objects.filter(concerned, kind=AuditEvent.Kind.POLICY)
    return list(policies.only("time", "actor", "credential", "result", "details")[:SCANNED])


def _before_the_trail(objects: Iterable[Model]) -> Iterator[Grant]:
    oldest = AuditEvent.objects.order_by("time").first()
    for item in objects:
        log = LogEntry.objects.filter(
            content_type=ContentType.objects.get_for_model(item), object_id=str(item.pk)
        )
        older = log.filter(action_time__lt=oldest.time) if oldest else log
        for entry in older.select_related("user").order_by("-action_time")[:LONGEST]:
            yield Grant(entry.action_time, str(entry.user), str(entry), "")


def _grants(rows: Iterable[AuditEvent], older: Iterable[Grant]) -> list[Grant]:
    """Newest first, without changes of what gives nobody a right, such as a title."""
    told = [
        Grant(row.time, _who(row), what, str(row.details.get("reason", "")))
        for row in rows
        if (what := in_words(row.details, row.result))
    ]
    return [*told, *older][:LONGEST]


def _who(event: AuditEvent) -> str:
    if event.actor:
        return event.actor
    source = event.details.get("changes", {}).get("source", [None, None])[1]
    if source == Membership.Source.SYNC:
        return "the proposal service"
    return "a command on the server" if event.credential == COMMAND else "the sign-on"


# -- In words --------------------------------------------------------------------------------


def in_words(details: Details, result: str) -> str:
    """What a change of a policy did, as one sentence; empty for one that gives nobody a right."""
    if link := _link(details):
        return f"{', '.join(link.people)} {link.verb} {', '.join(link.beamlines)}."
    say = WORDS.get(details.get("what", ""))
    return say(details, result, details.get("changes", {})) if say else ""


def _link(details: Details) -> Link | None:
    """None for a change that is not about the staff of beamlines."""
    if details.get("of") != STAFF_LINKS:
        return None
    verb, names = next(
        (verb, list(details[word])) for word, verb in LINK_VERBS.items() if word in details
    )
    one = [str(details["name"])]
    of_beamline = details["what"] == "policies.Beamline"
    return Link(one, names, verb) if of_beamline else Link(names, one, verb)


LINK_VERBS = {
    "added": "became staff of",
    "removed": "ceased to be staff of",
    "cleared": "ceased to be staff of",
}


def _of_membership(details: Details, result: str, changes: Details) -> str:
    member, _, proposal = str(details["name"]).rpartition(" in ")
    if result == "created":
        role = _role(changes.get("role", [None, None])[1])
        return f"{member} became {role} of {proposal}{_until(changes.get('expires'))}."
    if result == "deleted":
        return f"{member} was taken out of {proposal}."
    parts = []
    if "role" in changes:
        parts.append(f"{member} is now {_role(changes['role'][1])} of {proposal}.")
    if "expires" in changes:
        was, now = (_moment(value) or "without end" for value in changes["expires"])
        parts.append(f"The membership of {member} in {proposal} ends {now}; before: {was}.")
    return " ".join(parts)


def _until(expires: Any) -> str:
    end = _moment(expires[1]) if expires else ""
    return f", until {end}" if end else ""


def _role(value: Any) -> str:
    return ROLES.get(str(value), str(value)).lower()


def _of_proposal(details: Details, result: str, changes: Details) -> str:
    name = str(details["name"]).split(" ")[0]
    parts = [f"Proposal {name} was {result}."] if result in ("created", "deleted") else []
    for field, word in STATES.items():
        was, now = changes.get(field, (None, None))
        if bool(was) != bool(now):
            parts.append(f"{name} is {word} now." if now else f"{name} is no longer {word}.")
    was, now = (_moment(value) for value in changes.get("public_from", (None, None)))
    if was != now:
        day = f"is public from {now}" if now else "has no day to be public"
        parts.append(f"{name} {day}; before: {was or 'none'}.")
    return " ".join(parts)


def _of_user(details: Details, result: str, changes: Details) -> str:
    name = details["name"]
    parts = [f"{name} was {result}."] if result in ("created", "deleted") else []
    for field, word in RIGHTS.items():
        was, now = changes.get(field, (None, None))
        if bool(was) != bool(now) and not (field == "is_active" and result == "created"):
            parts.append(f"{name} is {word} now." if now else f"{name} is no longer {word}.")
    return " ".join(parts)


def _of_override(details: Details, result: str, changes: Details) -> str:
    run, _, proposal = str(details["name"]).rpartition(" → ")
    if result == "deleted":
        return f"The run {run} is of the proposal that its document names again."
    return f"The run {run} counts as one of {proposal}."


WORDS: dict[str, Callable[[Details, str, Details], str]] = {
    "policies.Membership": _of_membership,
    "policies.Proposal": _of_proposal,
    "policies.User": _of_user,
    "policies.RunOverride": _of_override,
}


def _moment(value: Any) -> str:
    """A time as the trail has it, to the minute."""
    try:
        return f"{datetime.fromisoformat(str(value)):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return ""
