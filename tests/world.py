"""A generated facility, and a slow and obvious reading of who may read what in it.

`may_read` is the access rule once more, written from its text in the README: it asks one
question after another about one person and one run. Nothing of `policies` that decides is used.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from bson import ObjectId
from django.utils import timezone

from headers.catalogs import Catalog
from headers.mongo import database
from policies.models import APIToken, Beamline, Membership, Proposal, RunOverride, User
from policies.tokens import Limits, make_token

Doc = dict[str, Any]

CATALOGS = ("csx", "hxn")
RUNS_EACH = 110
BEGIN = 1_760_000_000
PLANS = ("scan", "count", "grid_scan", "fly")
SAMPLES = ("gold", "iron", "quartz", "water")
STATUSES = ("success", "abort", "fail", None)
READ = ("read:metadata", "read:data")


@dataclass(frozen=True)
class Person:
    name: str
    active: bool = True
    superuser: bool = False
    data_admin: bool = False
    admin_site: bool = False
    """may open the admin, which gives no right to read"""
    staff_of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Visit:
    """A proposal. Times are days from now: what is negative is over."""

    id: str
    public_in: int | None = None
    proprietary: bool = False
    locked: bool = False
    members: Mapping[str, int | None] = field(default_factory=dict)
    """name → days until the membership ends; None: it does not"""


@dataclass(frozen=True)
class Caller:
    """Somebody who asks: a person, by a session or by a token that narrows, or nobody."""

    name: str
    person: Person | None
    scopes: tuple[str, ...] = READ
    proposals: tuple[str, ...] | None = None
    catalogs: tuple[str, ...] | None = None
    by_token: bool = False

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Recorded:
    """A run with all documents that belong to it."""

    catalog: str
    number: int
    start: Doc
    stop: Doc | None
    descriptors: list[Doc]
    events: list[Doc]
    resources: list[Doc]
    datums: list[Doc]

    @property
    def uid(self) -> str:
        return str(self.start["uid"])

    @property
    def key(self) -> tuple[str, str]:
        return self.catalog, self.uid

    def __str__(self) -> str:
        return f"{self.catalog}/{self.uid}"


@dataclass(frozen=True)
class World:
    people: list[Person]
    visits: dict[str, Visit]
    runs: list[Recorded]
    overrides: dict[tuple[str, str], str]
    """(catalog, run uid) → proposal id"""
    callers: list[Caller]

    # -- the reference ---------------------------------------------------------------------

    def proposal_of(self, run: Recorded) -> str | None:
        if run.key in self.overrides:
            return self.overrides[run.key]
        return named_in_csx(run.start) if run.catalog == "csx" else named_in_hxn(run.start)

    def may_read(self, caller: Caller, run: Recorded) -> bool:
        proposal = self.proposal_of(run)
        if caller.catalogs is not None and run.catalog not in caller.catalogs:
            return False
        if caller.proposals is not None and proposal not in caller.proposals:
            return False
        person = caller.person if caller.person and caller.person.active else None
        if person and (person.superuser or person.data_admin):
            return True
        visit = self.visits.get(proposal or "")
        if visit and visit.locked:
            return False
        if person and run.catalog in person.staff_of:  # each beamline has the catalog of its name
            return True
        if visit is None:
            return False
        if person and person.name in visit.members:
            ends = visit.members[person.name]
            if ends is None or ends > 0:
                return True
        return visit.public_in is not None and visit.public_in <= 0 and not visit.proprietary

    def readable(self, caller: Caller) -> list[Recorded]:
        """Newest first; of equal times by catalog, then the later _id first."""
        found = [run for run in self.runs if self.may_read(caller, run)]
        found.sort(key=lambda run: run.start["_id"], reverse=True)
        return sorted(found, key=lambda run: (run.start["time"], run.catalog), reverse=True)

    # -- into the databases ----------------------------------------------------------------

    def write_runs(self, catalogs: Mapping[str, Catalog]) -> None:
        for name, catalog in catalogs.items():
            runs = [run for run in self.runs if run.catalog == name]
            metadata, assets = database(catalog.metadata), database(catalog.assets)
            metadata.run_start.insert_many([dict(run.start) for run in runs])
            metadata.run_stop.insert_many([dict(run.stop) for run in runs if run.stop])
            for target, part in (
                (metadata.event_descriptor, "descriptors"),
                (metadata.event, "events"),
                (assets.resource, "resources"),
                (assets.datum, "datums"),
            ):
                target.insert_many([dict(doc) for run in runs for doc in getattr(run, part)])

    def write_people(self) -> dict[str, User]:
        """The users by name, with all that gives and takes rights."""
        now = timezone.now()
        users = {person.name: _user(person) for person in self.people}
        beamlines = {name: Beamline.objects.create(name=name) for name in CATALOGS}
        for person in self.people:
            for name in person.staff_of:
                beamlines[name].staff.add(users[person.name])
        proposals = {}
        for visit in self.visits.values():
            public = None if visit.public_in is None else now + timedelta(visit.public_in)
            proposals[visit.id] = Proposal.objects.create(
                proposal_id=visit.id,
                public_from=public,
                proprietary=visit.proprietary,
                locked=visit.locked,
            )
            for name, ends in visit.members.items():
                expires = None if ends is None else now + timedelta(ends)
                Membership.objects.create(
                    proposal=proposals[visit.id], user=users[name], expires=expires
                )
        for (catalog, uid), proposal in self.overrides.items():
            RunOverride.objects.create(
                catalog=catalog, run_uid=uid, proposal=proposals[proposal], reason="mis-tagged"
            )
        return users

    def write_token(self, caller: Caller, owner: User) -> str:
        limits = Limits(caller.scopes, caller.proposals, caller.catalogs)
        assert set(caller.scopes) <= set(APIToken.Scope.values)
        return make_token(owner, caller.name, limits, timedelta(days=1))[1]


def _user(person: Person) -> User:
    return User.objects.create(
        username=person.name,
        password="!",
        is_active=person.active,
        is_superuser=person.superuser,
        is_staff=person.admin_site,
        data_admin=person.data_admin,
    )


# -- where each catalog of the tests names the proposal, read from its settings by eye ---------


def named_in_csx(start: Doc) -> str | None:
    """`data_session` as pass-<digits>, else `proposal.proposal_id`."""
    session = start.get("data_session")
    if isinstance(session, str) and session.startswith("pass-"):
        digits = session[len("pass-") :]
        if digits and all(character in "0123456789" for character in digits):
            return digits
    proposal = start.get("proposal")
    found = _plain(proposal.get("proposal_id")) if isinstance(proposal, dict) else None
    return found or None


def named_in_hxn(start: Doc) -> str | None:
    """`proposal.proposal_id`, else `proposal`."""
    proposal = start.get("proposal")
    found = _plain(proposal.get("proposal_id")) if isinstance(proposal, dict) else _plain(proposal)
    return found or None


def _plain(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and value == int(value):
        return str(int(value))
    return None


# -- generated -----------------------------------------------------------------------------

PEOPLE = [
    Person("ann"),
    Person("ben"),
    Person("cem"),
    Person("dee"),
    Person("eli"),
    Person("fay", admin_site=True),
    Person("gus"),
    Person("csx-staff", staff_of=("csx",)),
    Person("hxn-staff", staff_of=("hxn",), admin_site=True),
    Person("floater", staff_of=("csx", "hxn")),
    Person("data-admin", data_admin=True),
    Person("root", superuser=True, admin_site=True),
    Person("left", active=False),
    Person("left-staff", active=False, staff_of=("csx",)),
    Person("left-admin", active=False, superuser=True, data_admin=True),
]


def generate(seed: int) -> World:
    """The same world for the same seed."""
    rng = random.Random(seed)
    visits = {visit.id: visit for visit in _visits(rng)}
    runs = [
        _run(rng, catalog, number, list(visits))
        for number in range(RUNS_EACH)
        for catalog in CATALOGS
    ]
    runs += _twins(runs)
    moved = rng.sample(runs, 25)
    overrides = {run.key: rng.choice(list(visits)) for run in moved}
    # An override of a run in the other catalog says nothing about this one.
    overrides |= {(_other(run.catalog), run.uid): rng.choice(list(visits)) for run in moved[:5]}
    return World(PEOPLE, visits, runs, overrides, list(_callers(rng, list(visits))))


def _other(catalog: str) -> str:
    return CATALOGS[1 - CATALOGS.index(catalog)]


def _visits(rng: random.Random) -> Iterator[Visit]:
    """20 proposals, among them ids that look like a boolean, an exponent, or another id."""
    ids = [str(310000 + n) for n in range(14)] + ["1", "0310001", "GUP-7", "1e5", "-3", "7.0"]
    names = [person.name for person in PEOPLE]
    for n, proposal in enumerate(ids):
        members = {name: rng.choice([None, None, 30, -1]) for name in rng.sample(names, 3)}
        yield Visit(
            proposal,
            public_in=[None, None, -3, 3, -400][n % 5],
            proprietary=n % 7 == 2,
            locked=n % 6 == 4,
            members=members,
        )


def _callers(rng: random.Random, proposals: list[str]) -> Iterator[Caller]:
    by_name = {person.name: person for person in PEOPLE}
    yield Caller("nobody", None)
    yield from (Caller(person.name, person) for person in PEOPLE if person.active)

    def token(name: str, **limits: Any) -> Caller:
        return Caller(f"a token of {name}", by_name[name], by_token=True, **limits)

    yield token("ann", proposals=tuple(rng.sample(proposals, 12)))
    yield token("csx-staff", proposals=tuple(rng.sample(proposals, 3)))
    yield token("floater", catalogs=("hxn",))
    yield token("data-admin", proposals=("310003", "1"), catalogs=("csx",))
    yield token("ben", scopes=("read:metadata",))


def _ordinary(rng: random.Random, catalog: str, proposal: str, another: str) -> Doc:
    """Ways in which runs name their proposal."""
    digits = proposal.isdigit()
    ways: list[Doc] = [{"proposal": {"proposal_id": proposal}}]
    if digits and not proposal.startswith("0"):
        ways += [
            {"proposal": {"proposal_id": number}} for number in (int(proposal), float(proposal))
        ]
    if catalog == "csx":
        ways += [way | {"data_session": "visitor"} for way in ways]
        if digits:
            session = {"data_session": f"pass-{proposal}"}
            ways += [session, session, session | {"proposal": {"proposal_id": another}}]
    else:
        ways += [{"proposal": way["proposal"]["proposal_id"]} for way in ways]
    return rng.choice(ways)


def _odd(rng: random.Random, proposal: str) -> Doc:
    """What is no name of a proposal, or hardly one."""
    values: list[Any] = [
        [proposal],
        [{"proposal_id": proposal}],
        {"proposal_id": [proposal]},
        {},
        [],
        None,
    ]
    values += [{"proposal_id": {"proposal_id": proposal}}, True, {"proposal_id": True}, "", 0.5]
    values += [f" {proposal}", f"{proposal} ", {"id": proposal}, {"proposal_id": 310000.5}, -3.0]
    sessions: list[Any] = [
        [f"pass-{proposal}"],
        f"pass-{proposal}\n",
        f"PASS-{proposal}",
        "pass-",
        "pass-١",
    ]
    sessions += [
        f"xpass-{proposal}",
        310000,
        {"pass": proposal},
        None,
        f"pass-{proposal}x",
        "passé",
    ]
    return rng.choice(
        [
            {},
            {"proposal": rng.choice(values)},
            {"data_session": rng.choice(sessions)},
            {"proposal": rng.choice(values), "data_session": rng.choice(sessions)},
        ]
    )


def _run(rng: random.Random, catalog: str, number: int, proposals: list[str]) -> Recorded:
    proposal, another = rng.choice(proposals), rng.choice(proposals)
    # Two neighbours have the first characters of their uids in common.
    uid = f"{random.Random(number // 2).getrandbits(32):08x}-{catalog}-{number:04d}"
    tag = _odd(rng, proposal) if rng.random() < 0.2 else _ordinary(rng, catalog, proposal, another)
    time = float(BEGIN + number // 3)
    start = {
        "_id": _object_id(catalog, number, 0),
        "uid": uid,
        "time": time,
        "scan_id": number % 20,
        "plan_name": rng.choice(PLANS),
        "sample": {"name": rng.choice(SAMPLES)},
        "purpose": f"purpose{number % 10} of run{number}{catalog}",
        "only_here": f"only-{uid}",
        **tag,
    }
    return _with_parts(rng, catalog, number, start)


def _with_parts(rng: random.Random, catalog: str, number: int, start: Doc) -> Recorded:
    uid, time = start["uid"], start["time"]
    files = number % 5 == 0
    number_key: Doc = {"dtype": "number", "shape": [], "source": "SIM:det"}
    image_key = {"dtype": "array", "shape": [4, 4], "source": "SIM:img", "external": "FILESTORE:"}
    keys = {"det": number_key} | ({"img": image_key} if files else {})
    descriptor: Doc = {"uid": f"d-{catalog}-{number}", "run_start": uid, "time": time + 0.1}
    descriptor |= {"_id": _object_id(catalog, number, 1), "name": "primary", "data_keys": keys}
    descriptor |= {"configuration": {}, "hints": {}, "object_keys": {"det": ["det"]}}
    events = []
    for seq_num in (1, 2):
        image = {"img": f"r-{catalog}-{number}/{seq_num}"} if files else {}
        data = {"det": float(number * 100 + seq_num + 10_000 * CATALOGS.index(catalog))} | image
        event: Doc = {"uid": f"e-{catalog}-{number}-{seq_num}", "descriptor": descriptor["uid"]}
        event |= {"_id": _object_id(catalog, number, 1 + seq_num), "seq_num": seq_num}
        event |= {"time": time + seq_num, "data": data, "filled": dict.fromkeys(image, False)}
        event["timestamps"] = dict.fromkeys(data, time + seq_num)
        events.append(event)
    resource: Doc = {"uid": f"r-{catalog}-{number}", "run_start": uid, "spec": "AD_HDF5"}
    resource |= {"root": "/facility/data", "resource_path": "gone.h5", "resource_kwargs": {}}
    resource |= {"path_semantics": "posix", "_id": _object_id(catalog, number, 5)}
    datums: list[Doc] = [
        {"datum_id": event["data"]["img"], "resource": resource["uid"], "datum_kwargs": {}}
        | {"_id": _object_id(catalog, number, 5 + event["seq_num"])}
        for event in events
        if files
    ]
    status = rng.choice(STATUSES)
    stop = {"uid": f"s-{catalog}-{number}", "run_start": uid, "time": time + 9, "reason": ""}
    stop |= {"exit_status": status, "num_events": {"primary": 2}}
    stop["_id"] = _object_id(catalog, number, 9)
    return Recorded(
        catalog,
        number,
        start,
        stop if status else None,
        [descriptor],
        events,
        [resource] if files else [],
        datums,
    )


def _twins(runs: list[Recorded]) -> list[Recorded]:
    """Runs with the uid of another one, in the other catalog and in another proposal."""
    twins = []
    for number, run in enumerate(runs[:8], RUNS_EACH):
        catalog = _other(run.catalog)
        tag = {"proposal": {"proposal_id": f"31000{number % 8}"}, "only_here": f"twin-{run.uid}"}
        start = {k: v for k, v in run.start.items() if k != "data_session"} | tag
        start["_id"] = _object_id(catalog, number, 0)
        twins.append(_with_parts(random.Random(number), catalog, number, start))
    return twins


def _object_id(catalog: str, number: int, part: int) -> ObjectId:
    return ObjectId(f"{CATALOGS.index(catalog) + 1:08x}{number:012x}{part:04x}")
