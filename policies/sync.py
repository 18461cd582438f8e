"""Proposals and their members from a facility's proposal service, which knows them best.

A source is a JSON file or an HTTP service, both of the shape of nsls2api:
`GET /v1/proposals/?page=1&page_size=…` gives `{"proposals": [{"proposal_id", "title",
"instruments", "cycles", "users": [{"username", "email", "is_pi"}]}]}`, and
`GET /v1/data-session/{username}` gives `{"data_sessions": ["pass-310000", …]}`.

A sync adds, ends and restores the memberships that it made itself. What a person has
set stays, but for one case: when the source adds a beamline to a proposal, memberships that
it does not name and that only staff of the former beamlines set would give rights on another
beamline's runs. They end; those that a data admin or a command set stay.

When more of the synced memberships would end than a threshold allows, nothing is changed: a
service that is half down must not empty a facility.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import msgspec
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from broker_site.outside import checked
from policies import audit
from policies.models import (
    AuditEvent,
    Beamline,
    Membership,
    Proposal,
    ProposalSync,
    User,
)
from policies.texts import Identifier, Username

PAGE_SIZE = 200
MAX_PAGES = 10_000
MAX_BYTES = 64 * 2**20
SECONDS = 30
ALWAYS_MAY_END = 5
"""this many memberships may end whatever their share is; a small facility changes too"""
ROWS = 1000  # that are stored with one statement
DATA_SESSION = "pass-"
AT = Proposal.beamlines.through

Role = Membership.Role
Source = Membership.Source
Fetch = Callable[[str, Mapping[str, Any]], Any]


class SyncError(ValueError):
    """The source does not answer, or not in the shape that we know. Nothing was changed."""


class SyncRefused(ValueError):
    """More would end than is plausible. Nothing was changed."""


@dataclass(frozen=True)
class SourceProposal:
    """A proposal as the source knows it."""

    proposal_id: str
    title: str = ""
    cycle: str = ""
    beamlines: frozenset[str] = frozenset()
    members: Mapping[str, Role] = field(default_factory=dict)
    emails: Mapping[str, str] = field(default_factory=dict)


class OptionalUsername(Username):
    """Who has no username at the facility cannot sign in here either."""

    @classmethod
    def check(cls, value: str) -> None:
        if value:
            super().check(value)


class _FeedPerson(msgspec.Struct):
    """What is null counts as left out; keys that we do not know are ignored."""

    username: OptionalUsername | None = None
    email: str | None = None
    is_pi: bool | None = None


class _FeedProposal(msgspec.Struct):
    proposal_id: Identifier
    title: str | None = None
    instruments: list[Any] | None = None
    cycles: list[Any] | None = None
    users: list[_FeedPerson] | None = None


class _Feed(msgspec.Struct):
    proposals: list[_FeedProposal]


class _DataSessions(msgspec.Struct):
    data_sessions: list[str]


# -- Reading a source ------------------------------------------------------------------------


class _NoRedirects(HTTPRedirectHandler):
    """A redirect could carry the service's key to another host."""

    def redirect_request(self, *args: Any) -> None:
        return None


def service(url: str, key: str = "") -> Fetch:
    """Asks `url` + path for JSON. The key, if any, goes into the Authorization header."""
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise SyncError(f"{url}: is not the address of an HTTP service")
    opener = build_opener(_NoRedirects())
    headers = {"Accept": "application/json"} | ({"Authorization": key} if key else {})

    def fetch(path: str, query: Mapping[str, Any]) -> Any:
        address = f"{url.rstrip('/')}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            request = Request(address, headers=headers)  # noqa: S310  (scheme checked above)
            with opener.open(request, timeout=SECONDS) as answer:
                content = answer.read(MAX_BYTES + 1)
        except HTTPError as error:
            raise SyncError(f"{path}: the service answers {error.code}") from None
        except (URLError, OSError) as error:
            raise SyncError(f"{path}: no answer from the service: {error}") from None
        if len(content) > MAX_BYTES:
            raise SyncError(f"{path}: the answer is larger than {MAX_BYTES} bytes")
        return _json(content, path)

    return fetch


def proposals_of_file(path: Path) -> list[SourceProposal]:
    try:
        return _proposals(_json(path.read_bytes(), str(path)), str(path))
    except OSError as error:
        raise SyncError(f"{path}: {error.strerror}") from None


def proposals_of_service(fetch: Fetch) -> list[SourceProposal]:
    """All pages of the list. SyncError if one is missing, so that a half answer does nothing."""
    found: dict[str, SourceProposal] = {}
    for page in range(1, MAX_PAGES):
        here = f"/v1/proposals/ page {page}"
        raw = fetch("/v1/proposals/", {"page": page, "page_size": PAGE_SIZE})
        proposals = _proposals(raw, here)
        fresh = [p for p in proposals if p.proposal_id not in found]
        found |= {proposal.proposal_id: proposal for proposal in proposals}
        # Some versions of the service give fewer than asked for, or the last page again.
        if not fresh:
            return list(found.values())
    raise SyncError("/v1/proposals/: the pages do not end")


def data_sessions(fetch: Fetch, username: str) -> frozenset[str]:
    """The ids of the proposals that one person has data sessions of."""
    here = f"/v1/data-session/{username}"
    raw = fetch(f"/v1/data-session/{quote(username, safe='')}", {})
    sessions = checked(
        raw, _DataSessions, "", lambda text: SyncError(f"{here}: {text}")
    ).data_sessions
    return frozenset(s.removeprefix(DATA_SESSION) for s in sessions if s.startswith(DATA_SESSION))


def _json(content: bytes, where: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise SyncError(f"{where}: is not valid JSON") from None


def _proposals(raw: Any, where: str) -> list[SourceProposal]:
    feed = checked(raw, _Feed, "", lambda text: SyncError(f"{where}: {text}"))
    return [_proposal(proposal) for proposal in feed.proposals]


def _proposal(raw: _FeedProposal) -> SourceProposal:
    people = [user for user in raw.users or () if user.username]
    cycles = [cycle for cycle in raw.cycles or () if isinstance(cycle, str)]
    return SourceProposal(
        str(raw.proposal_id),
        title=(raw.title or "")[:500],
        cycle=max(cycles, default="")[:50],
        beamlines=frozenset(str(name).casefold() for name in raw.instruments or ()),
        members={str(u.username): Role.PI if u.is_pi else Role.MEMBER for u in people},
        emails={str(u.username): (u.email or "")[:254] for u in people},
    )


# -- Applying it -----------------------------------------------------------------------------


@dataclass
class Changes:
    """What one sync does; `lines` tells each change."""

    added: int = 0
    ended: int = 0
    restored: int = 0
    lines: list[str] = field(default_factory=list)
    links: list[Any] = field(default_factory=list)
    """of proposals to beamlines, that are new"""
    joining: list[Membership] = field(default_factory=list)
    ending: list[Membership] = field(default_factory=list)

    def store(self) -> None:
        """Writes what is new and what ends; thousands with one statement."""
        AT._default_manager.bulk_create(self.links, batch_size=ROWS)
        Membership.objects.bulk_create(self.joining, batch_size=ROWS)
        for first in range(0, len(self.ending), ROWS):
            keys = [membership.pk for membership in self.ending[first : first + ROWS]]
            those = Membership.objects.filter(pk__in=keys).select_related("user", "proposal")
            # What a person had set and the sync has ended, is the sync's to restore.
            those.update(expires=timezone.now(), source=Source.SYNC)


def sync_proposals(
    proposals: Iterable[SourceProposal], *, max_ended_percent: int = 20, dry_run: bool = False
) -> Changes:
    """Makes the synced memberships those of the source. SyncRefused beyond the threshold."""
    wanted = {proposal.proposal_id: proposal for proposal in proposals}
    with transaction.atomic():
        with audit.with_reason("proposal sync"), audit.in_bulk():
            changes = _apply(wanted, max_ended_percent)
        transaction.set_rollback(dry_run)
    return changes


def _apply(wanted: Mapping[str, SourceProposal], max_ended_percent: int) -> Changes:
    before = _synced().current().count()
    changes = Changes()
    known = _Known.load()
    _add_proposals(wanted.values(), known, changes)
    _add_people(wanted.values(), known, changes)
    doubtful: list[Membership] = []
    for proposal in wanted.values():
        stored = known.proposals[proposal.proposal_id]
        if _update(stored, proposal, known, changes):
            doubtful += _set_by_people_alone(proposal, known)
        _set_members(stored, proposal, known, changes)
    for proposal_id in sorted(known.members.keys() - wanted.keys()):
        for membership in known.members[proposal_id].values():
            _end(membership, changes)
    _check_threshold(before, changes.ended, bool(wanted), max_ended_percent)
    _end_doubtful(doubtful, changes)
    changes.store()
    return changes


@dataclass
class _Known:
    """What we have, read at once, because a source has thousands of proposals."""

    proposals: dict[str, Proposal]
    members: dict[str, dict[str, Membership]]
    """proposal id → username → membership"""
    users: dict[str, User]
    beamlines: dict[str, Beamline]
    """by name, in small letters"""
    beamlines_of: Mapping[str, set[str]]
    """proposal id → their names, in small letters"""

    @classmethod
    def load(cls) -> "_Known":
        members: dict[str, dict[str, Membership]] = defaultdict(dict)
        for membership in Membership.objects.select_related("proposal", "user"):
            members[membership.proposal.proposal_id][membership.user.username] = membership
        at: dict[str, set[str]] = defaultdict(set)
        for proposal_id, name in AT.objects.values_list("proposal__proposal_id", "beamline__name"):
            at[proposal_id].add(name.casefold())
        return cls(
            proposals={proposal.proposal_id: proposal for proposal in Proposal.objects.all()},
            members=members,
            users={user.username: user for user in User.objects.all()},
            beamlines={beamline.name.casefold(): beamline for beamline in Beamline.objects.all()},
            beamlines_of=at,
        )


def sync_person(user: User, proposal_ids: frozenset[str]) -> Changes:
    """Makes one person's synced memberships those of their data sessions, at known proposals."""
    changes = Changes()
    known = Proposal.objects.filter(proposal_id__in=proposal_ids)
    with transaction.atomic(), audit.with_reason("proposal sync"):
        memberships = {m.proposal.proposal_id: m for m in _of(user)}
        for proposal in known:
            there = memberships.pop(proposal.proposal_id, None)
            _join(proposal, user, there, there.role if there else Role.MEMBER, changes)
        for membership in memberships.values():
            _end(membership, changes)
        changes.store()
    return changes


def record(source: str, outcome: ProposalSync.Outcome, changes: Changes, text: str = "") -> None:
    ProposalSync.objects.create(
        source=source[:500],
        outcome=outcome,
        added=changes.added,
        ended=changes.ended,
        restored=changes.restored,
        changes=text or "\n".join(changes.lines),
    )


def last_sync_age() -> float | None:
    """Seconds since the last sync that was done, or None."""
    done = ProposalSync.objects.filter(outcome=ProposalSync.Outcome.DONE).first()
    return None if done is None else (timezone.now() - done.made).total_seconds()


def _synced() -> Any:
    return Membership.objects.filter(source=Source.SYNC)


def _of(user: User) -> Iterable[Membership]:
    return Membership.objects.filter(user=user).select_related("proposal", "user")


def _add_proposals(wanted: Iterable[SourceProposal], known: _Known, changes: Changes) -> None:
    """Those that are not known yet. Their embargo and locks are decided here, not by the source."""
    new = [
        Proposal(proposal_id=p.proposal_id, title=p.title, cycle=p.cycle)
        for p in wanted
        if p.proposal_id not in known.proposals
    ]
    Proposal.objects.bulk_create(new, batch_size=ROWS)
    known.proposals |= {proposal.proposal_id: proposal for proposal in new}
    changes.lines += [f"+ proposal {proposal.proposal_id}" for proposal in new]


def _add_people(wanted: Iterable[SourceProposal], known: _Known, changes: Changes) -> None:
    """Without passwords: such people sign in through the facility."""
    emails = {name: p.emails.get(name, "") for p in wanted for name in p.members}
    new = [User(username=n, email=e) for n, e in emails.items() if n not in known.users]
    for user in new:
        user.set_unusable_password()
    User.objects.bulk_create(new, batch_size=ROWS)
    known.users |= {user.username: user for user in new}
    changes.lines += [f"+ user {user.username}" for user in new]


def _update(stored: Proposal, proposal: SourceProposal, known: _Known, changes: Changes) -> bool:
    """Whether it is at a beamline now at which it was not before."""
    given = {"title": proposal.title, "cycle": proposal.cycle}
    differ = [name for name, value in given.items() if value and getattr(stored, name) != value]
    for name in differ:
        setattr(stored, name, given[name])
    if differ:
        stored.save(update_fields=differ)
    there = known.beamlines_of.get(stored.proposal_id, set())
    missing = proposal.beamlines & known.beamlines.keys() - there
    if missing:
        found = [known.beamlines[name] for name in missing]
        audit.record_links(AT, stored, [str(beamline) for beamline in found])
        changes.links += [AT(proposal=stored, beamline=beamline) for beamline in found]
    return bool(missing)


def _set_by_people_alone(proposal: SourceProposal, known: _Known) -> list[Membership]:
    """Current memberships that a person has set and that the source does not name."""
    there = known.members.get(proposal.proposal_id, {})
    unnamed = [there[name] for name in sorted(there.keys() - proposal.members.keys())]
    return [m for m in unnamed if m.source == Source.MANUAL and m.is_current]


def _end_doubtful(memberships: Sequence[Membership], changes: Changes) -> None:
    """Ends those that nobody set who may give rights at every beamline."""
    sound: set[int] = set()
    for first in range(0, len(memberships), ROWS):
        sound |= _set_for_all_beamlines([m.pk for m in memberships[first : first + ROWS]])
    for membership in memberships:
        if membership.pk not in sound:
            changes.ending.append(membership)
            changes.ended += 1
            changes.lines.append(f"- {membership}: set by hand before the proposal got a beamline")


def _set_for_all_beamlines(keys: list[int]) -> set[int]:
    """Those of the memberships that a data admin or a command set, by what the trail tells last."""
    changed = AuditEvent.objects.filter(
        kind=AuditEvent.Kind.POLICY,
        details__what=Membership._meta.label,
        details__pk__in=keys,
    )
    admins = User.objects.filter(Q(data_admin=True) | Q(is_superuser=True))
    may = set(admins.values_list("pk", flat=True))
    last = {event.details["pk"]: event for event in changed.order_by("time", "pk")}
    return {key for key, by in last.items() if by.credential == audit.COMMAND or by.actor_pk in may}


def _set_members(
    stored: Proposal, proposal: SourceProposal, known: _Known, changes: Changes
) -> None:
    there = dict(known.members.get(proposal.proposal_id, {}))
    for username, role in sorted(proposal.members.items()):
        _join(stored, known.users[username], there.pop(username, None), role, changes)
    for membership in there.values():
        _end(membership, changes)


def _join(
    proposal: Proposal, user: User, there: Membership | None, role: Role | str, changes: Changes
) -> None:
    label = f"{user.username} in {proposal.proposal_id}"
    begins = there is None or (there.source == Source.SYNC and not there.is_current)
    if begins and user.has_usable_password():
        # Whoever made the account need not be the person whom the source names.
        changes.lines.append(f"! {label}: an account with a password of its own stays apart")
        return
    if there is None:
        changes.joining.append(
            Membership(proposal=proposal, user=user, role=role, source=Source.SYNC)
        )
        changes.added += 1
        changes.lines.append(f"+ {label}")
        return
    if there.source != Source.SYNC:
        return
    restored, promoted = not there.is_current, there.role != role
    if not restored and not promoted:
        return
    there.expires, there.role = None, role
    there.save(update_fields=["expires", "role"])
    changes.restored += restored
    changes.lines.append(f"~ {label}: {'restored' if restored else f'now {role}'}")


def _end(membership: Membership, changes: Changes) -> None:
    if membership.source != Source.SYNC or not membership.is_current:
        return
    changes.ending.append(membership)
    changes.ended += 1
    changes.lines.append(f"- {membership.user.username} in {membership.proposal.proposal_id}")


def _check_threshold(before: int, ended: int, any_left: bool, percent: int) -> None:
    if before and not any_left:
        raise SyncRefused("the source has no proposals at all; nothing was changed")
    if ended > max(ALWAYS_MAY_END, before * percent / 100):
        raise SyncRefused(
            f"{ended} of {before} memberships would end, more than {percent} %;"
            " nothing was changed (--max-ended allows more)"
        )
