"""Import of users, beamlines and proposals from a JSON file, all of it or nothing.

What the file says of an entry is set to just that: a list of members or staff replaces
the one there is, and `is_staff` decides about the group of the facility's staff. A key
that is left out, and an entry that the file does not name, is left as it is.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Annotated, Any

import msgspec
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Manager, Model, Prefetch, QuerySet
from msgspec import UNSET, UnsetType

from broker_site.outside import MAX_QUOTED, checked, one_of
from policies import audit
from policies.models import Beamline, Membership, Proposal, User
from policies.roles import STAFF_GROUP
from policies.texts import Email, Identifier, ShortText, Text, Username

Entry = dict[str, Any]

ROWS = 1000  # that are stored with one statement
ROWS_READ = 500


class PolicyFileError(ValueError):
    """The file is wrong. The text begins with the path of the place and says what is wrong."""


# -- What a file may hold --------------------------------------------------------------------


Moment = Annotated[datetime, msgspec.Meta(tz=True)] | None
Role = Annotated[str, one_of(*Membership.Role.values)]


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    """What is UNSET is left as it is. The items of each list differ, by their first key."""

    def __post_init__(self) -> None:
        for key in self.__struct_fields__:
            value = getattr(self, key)
            if isinstance(value, list):
                _refuse_repeats(key, value)


class _UserEntry(_Entry):
    username: Username
    email: Email | UnsetType = UNSET
    is_staff: bool | UnsetType = UNSET


class _BeamlineEntry(_Entry):
    name: Identifier
    title: ShortText | UnsetType = UNSET
    staff: list[Username] | UnsetType = UNSET


class _MemberEntry(_Entry):
    username: Username
    role: Role | UnsetType = UNSET
    expires: Moment | UnsetType = UNSET


class _ProposalEntry(_Entry):
    proposal_id: Identifier
    title: Text | UnsetType = UNSET
    beamlines: list[Identifier] | UnsetType = UNSET
    public_from: Moment | UnsetType = UNSET
    proprietary: bool | UnsetType = UNSET
    locked: bool | UnsetType = UNSET
    members: list[_MemberEntry] | UnsetType = UNSET


class _File(_Entry):
    users: list[_UserEntry] = []
    beamlines: list[_BeamlineEntry] = []
    proposals: list[_ProposalEntry] = []


def _refuse_repeats(key: str, items: list[Any]) -> None:
    names = [i if isinstance(i, str) else getattr(i, i.__struct_fields__[0]) for i in items]
    if len(set(names)) != len(names):
        raise ValueError(f"{key} has {Counter(names).most_common(1)[0][0]!r} more than once")


def parse_policies(content: str | bytes) -> Entry:
    """The checked entries of a file: {"users": […], "beamlines": […], "proposals": […]}.

    Times are datetimes. PolicyFileError names the first place that is wrong.
    """
    try:
        raw = json.loads(content, object_pairs_hook=_without_repeats)
    except PolicyFileError:
        raise
    except (ValueError, RecursionError) as error:
        raise PolicyFileError(f"file: is not valid JSON: {error}") from None
    file = checked(raw, _File, "file", PolicyFileError)
    entries: Entry = msgspec.to_builtins(file, builtin_types=(datetime,), enc_hook=str)
    return entries


def _without_repeats(pairs: list[tuple[str, Any]]) -> Entry:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise PolicyFileError(f"file: an object has the key {twice[:MAX_QUOTED]!r} twice")
    return found


# -- Applying it -----------------------------------------------------------------------------


def import_policies(entries: Entry, *, dry_run: bool = False) -> list[str]:
    """Applies what `parse_policies` gave, in one transaction; the changes, one line each.

    A dry run finds the same changes and keeps none. PolicyFileError names a person or a
    beamline that neither the file nor the database has.
    """
    with transaction.atomic():
        with audit.in_bulk():
            _check_references(entries)
            changes = [
                *_import_users(entries["users"]),
                *_import_beamlines(entries["beamlines"]),
                *_import_proposals(entries["proposals"]),
            ]
        transaction.set_rollback(dry_run)
    return changes


def _check_references(entries: Entry) -> None:
    users = {entry["username"] for entry in entries["users"]}
    users |= set(User.objects.values_list("username", flat=True))
    beamlines = {entry["name"] for entry in entries["beamlines"]}
    beamlines |= set(Beamline.objects.values_list("name", flat=True))
    for path, username in _people(entries):
        if username not in users:
            raise PolicyFileError(f"{path}: there is no user {username!r}")
    for index, entry in enumerate(entries["proposals"]):
        for place, name in enumerate(entry.get("beamlines", ())):
            if name not in beamlines:
                path = f"file.proposals[{index}].beamlines[{place}]"
                raise PolicyFileError(f"{path}: there is no beamline {name!r}")


def _people(entries: Entry) -> Iterator[tuple[str, str]]:
    for index, entry in enumerate(entries["beamlines"]):
        for place, username in enumerate(entry.get("staff", ())):
            yield f"file.beamlines[{index}].staff[{place}]", username
    for index, entry in enumerate(entries["proposals"]):
        for place, member in enumerate(entry.get("members", ())):
            yield f"file.proposals[{index}].members[{place}].username", member["username"]


def _import_users(entries: list[Entry]) -> Iterator[str]:
    names = [entry["username"] for entry in entries]
    there: dict[str, User] = _stored(User.objects.all(), "username", names)
    new = []
    for entry in entries:
        name = entry["username"]
        if name in there:
            yield from _save(there[name], f"user {name}", entry)
            continue
        user = there[name] = User(**entry)
        user.set_unusable_password()
        new.append(user)
        yield f"+ user {name}"
    User.objects.bulk_create(new, batch_size=ROWS)
    group = Group.objects.filter(name=STAFF_GROUP).first()
    if group is not None:
        inside = set(group.user_set.values_list("username", flat=True))
        for entry in entries:
            if "is_staff" in entry and (entry["username"] in inside) != entry["is_staff"]:
                yield _set_staff_group(there[entry["username"]], group, entry["is_staff"])


def _set_staff_group(user: User, group: Group, is_staff: bool) -> str:
    """Without the group's permissions, staff would find an empty admin."""
    change = user.groups.add if is_staff else user.groups.remove
    change(group)
    return f"{'+' if is_staff else '-'} user {user.username} in the group {STAFF_GROUP}"


def _import_beamlines(entries: list[Entry]) -> Iterator[str]:
    for entry in entries:
        name = entry["name"]
        beamline = Beamline.objects.filter(name=name).first() or Beamline(name=name)
        yield from _save(beamline, f"beamline {name}", entry, but=("staff",))
        if "staff" in entry:
            there = set(beamline.staff.values_list("username", flat=True))
            label = f"staff {{}} of {name}"
            yield from _set(beamline.staff, "username", there, entry["staff"], label)


def _import_proposals(entries: list[Entry]) -> Iterator[str]:
    """Thousands of them with many thousands of members: what is new is stored together."""
    names = [entry["proposal_id"] for entry in entries]
    members = Prefetch("memberships", Membership.objects.select_related("user"))
    stored = Proposal.objects.prefetch_related("beamlines", members)
    there: dict[str, Proposal] = _stored(stored, "proposal_id", names)
    new = {name: Proposal(proposal_id=name) for name in names if name not in there}
    for entry in entries:
        if proposal := new.get(entry["proposal_id"]):
            for key in entry.keys() - {"beamlines", "members"}:
                setattr(proposal, key, entry[key])
            yield f"+ proposal {proposal.proposal_id}"
    Proposal.objects.bulk_create(new.values(), batch_size=ROWS)
    links, memberships = list[Any](), list[Membership]()
    people = _people_by_name(entries)
    beamlines = {beamline.name: beamline for beamline in Beamline.objects.all()}
    for entry in entries:
        name = entry["proposal_id"]
        if name in new:
            chosen = [beamlines[beamline] for beamline in entry.get("beamlines", ())]
            links += _links(new[name], chosen)
            yield from (
                f"+ beamline {b} of proposal {name}" for b in sorted(b.name for b in chosen)
            )
        else:
            yield from _change_proposal(there[name], entry)
        if "members" in entry:
            proposal = new.get(name) or there[name]
            known = [] if name in new else list(proposal.memberships.all())
            now = {membership.user.username: membership for membership in known}
            yield from _import_members(proposal, now, entry["members"], people, memberships)
    Proposal.beamlines.through._default_manager.bulk_create(links, batch_size=ROWS)
    Membership.objects.bulk_create(memberships, batch_size=ROWS)


def _stored(rows: QuerySet[Any], key: str, names: list[str]) -> dict[str, Any]:
    """The rows by name. Some hundred at once: SQLite takes no longer lists."""
    found: dict[str, Any] = {}
    for first in range(0, len(names), ROWS_READ):
        some = rows.filter(**{f"{key}__in": names[first : first + ROWS_READ]})
        found |= {getattr(row, key): row for row in some}
    return found


def _people_by_name(entries: list[Entry]) -> dict[str, User]:
    wanted = {member["username"] for entry in entries for member in entry.get("members", ())}
    return _stored(User.objects.all(), "username", sorted(wanted))


def _links(proposal: Proposal, beamlines: list[Beamline]) -> list[Any]:
    through = Proposal.beamlines.through
    if beamlines:
        audit.record_links(through, proposal, [str(beamline) for beamline in beamlines])
    return [through(proposal=proposal, beamline=beamline) for beamline in beamlines]


def _change_proposal(proposal: Proposal, entry: Entry) -> Iterator[str]:
    name = proposal.proposal_id
    yield from _save(proposal, f"proposal {name}", entry, but=("beamlines", "members"))
    if "beamlines" in entry:
        there = {beamline.name for beamline in proposal.beamlines.all()}
        label = f"beamline {{}} of proposal {name}"
        yield from _set(proposal.beamlines, "name", there, entry["beamlines"], label)


def _import_members(
    proposal: Proposal,
    there: dict[str, Membership],
    members: list[Entry],
    people: dict[str, User],
    new: list[Membership],
) -> Iterator[str]:
    """Changes those who are members, `there`; new memberships are added to `new`."""
    for entry in members:
        name = entry["username"]
        label = f"member {name} of proposal {proposal.proposal_id}"
        fields = entry | {"source": Membership.Source.MANUAL.value}
        if membership := there.pop(name, None):
            yield from _save(membership, label, fields, but=("username",))
            continue
        given = {key: value for key, value in fields.items() if key != "username"}
        new.append(Membership(proposal=proposal, user=people[name], **given))
        yield f"+ {label}"
    for name, membership in sorted(there.items()):
        membership.delete()
        yield f"- member {name} of proposal {proposal.proposal_id}"


def _save(instance: Model, label: str, entry: Entry, but: Iterable[str] = ()) -> Iterator[str]:
    """Sets what the entry gives, saves what differs, and tells it."""
    fields = {name: value for name, value in entry.items() if name not in but}
    before = {name: getattr(instance, name) for name in fields}
    for name, value in fields.items():
        setattr(instance, name, value)
    if instance.pk is None:
        instance.save()
        yield f"+ {label}"
        return
    differ = [name for name in fields if before[name] != fields[name]]
    if differ:
        instance.save(update_fields=differ)
    for name in differ:
        yield f"~ {label}: {name} {_shown(before[name])} → {_shown(fields[name])}"


def _set(
    related: "Manager[Any]", key: str, there: set[str], wanted: list[str], label: str
) -> Iterator[str]:
    """Makes a many-to-many relation hold just the wanted ones, and tells what changed."""
    added, removed = set(wanted) - there, there - set(wanted)
    if added:
        related.add(*related.model._default_manager.filter(**{f"{key}__in": added}))  # type: ignore[attr-defined]
    if removed:
        related.remove(*related.filter(**{f"{key}__in": removed}))  # type: ignore[attr-defined]
    yield from (f"+ {label.format(name)}" for name in sorted(added))
    yield from (f"- {label.format(name)}" for name in sorted(removed))


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    return value.isoformat() if isinstance(value, datetime) else repr(value)
