"""The access rule: its query, its judgement and its rights from SQL say the same."""

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from bson import Int64
from bson.decimal128 import Decimal128
from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headers.catalogs import Catalog
from headers.mongo import database
from policies.models import Beamline, Membership, Proposal, RunOverride, User
from policies.principals import access_of
from policies.rule.access import Access
from policies.rule.proposal_paths import ProposalPath, ProposalPaths
from tests.conftest import Actor, Commands, People
from tests.documents import EPOCH, Recorder

quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# -- filter ≡ allows ------------------

IDS = ["310000", "310001", "7", "007", "0", "-5", "ab", "9007199254740993", "10000000000000000000"]
UIDS = ["u1", "u2", "u3", "u4"]
PATHS = ["data_session", "proposal", "proposal.proposal_id", "a.b.c"]
PATTERNS = [
    r"^pass-(\d+)$",
    r"(\w+)",
    r"^(?:gu|GU)-?(\d+)$",
    r"p(\d*)",
    r"(?:pass-|pass)(-?\d+)(?:!|\?)?",
    r"[xy]([a-z]+)",
]


@dataclass(frozen=True)
class AnyCatalog:
    name: str
    beamline: str
    proposal: ProposalPaths


ids = st.sampled_from(IDS)
id_sets = st.frozensets(ids, max_size=4)
SCALARS = [
    *IDS,
    *map("pass-{}".format, IDS),
    *["", " ", "pass-", "pass-310000\n", "PASS-7", "gu-7", "GU7", "p", "p7", "xab", "7 ", "é"],
    *["pass7!", "pass--5?", "pass-٧", "٧"],
    *[310000, 310001.0, 7, 7.0, 7.5, 0, -0.0, -5, Int64(7), 2**53 + 1, float(2**53), 1e19],
    *[float("nan"), float("inf"), -float("inf")],
    *[Decimal128(text) for text in ("7", "7.0", "0.5", "1E19", "1E6000", "NaN", "-Infinity")],
    *[None, True, False],
]
scalars = st.sampled_from(SCALARS)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["proposal_id", "b", "c"]), inner, max_size=2)
    ),
    max_leaves=3,
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "uid": st.sampled_from([*UIDS, 5, None]) | st.lists(st.sampled_from(UIDS), max_size=2),
        "data_session": values,
        "proposal": values,
        "a": values,
    },
)
places = st.builds(ProposalPath, st.sampled_from(PATHS), st.none() | st.sampled_from(PATTERNS))
catalogs_of_any_kind = st.builds(
    AnyCatalog,
    name=st.just("csx"),
    beamline=st.just("csx"),
    proposal=st.lists(places, max_size=3).map(lambda found: ProposalPaths(tuple(found))),
)
accesses = st.builds(
    Access,
    data_admin=st.sampled_from([False, False, False, True]),
    beamlines=st.sampled_from([frozenset(), frozenset(), frozenset({"csx"}), frozenset({"hxn"})]),
    proposals=id_sets,
    locked=id_sets,
    overrides=st.fixed_dictionaries(
        {}, optional={name: st.dictionaries(st.sampled_from(UIDS), ids) for name in ("csx", "hxn")}
    ),
    only_proposals=st.none() | id_sets,
    only_catalogs=st.sampled_from([None, None, frozenset({"csx"}), frozenset({"hxn"})]),
)


@quick
@given(
    catalog=catalogs_of_any_kind,
    some=st.lists(accesses, min_size=3, max_size=6),
    stored=st.lists(documents, min_size=10, max_size=30),
)
def test_the_filter_selects_exactly_the_documents_that_are_allowed(
    catalog: AnyCatalog,
    some: list[Access],
    stored: list[dict[str, Any]],
    catalogs: dict[str, Catalog],
) -> None:
    starts = database(catalogs["csx"].metadata).any_start
    starts.delete_many({})
    starts.insert_many([document | {"_id": n} for n, document in enumerate(stored)])
    for access in some:
        found = {document["_id"] for document in starts.find(access.filter(catalog))}
        allowed = {n for n, start in enumerate(stored) if access.allows(catalog, start)}
        assert found == allowed


@pytest.mark.parametrize("pattern", [None, *PATTERNS])
def test_every_kind_of_value_names_for_the_query_what_it_names_for_the_judgement(
    pattern: str | None, catalogs: dict[str, Catalog]
) -> None:
    starts = database(catalogs["csx"].metadata).any_start
    starts.delete_many({})
    documents: list[dict[str, Any]] = [{"proposal": value} for value in SCALARS]
    starts.insert_many([document | {"_id": n} for n, document in enumerate(documents)])
    catalog = AnyCatalog("csx", "csx", ProposalPaths((ProposalPath("proposal", pattern),)))
    for proposal in [*IDS, "a", "", "3", "9007199254740992", "9223372036854775807"]:
        access = Access(proposals=frozenset({proposal}))
        found = {document["_id"] for document in starts.find(access.filter(catalog))}
        assert found == {n for n, start in enumerate(documents) if access.allows(catalog, start)}


@given(catalog=catalogs_of_any_kind, access=accesses, stored=st.lists(documents, max_size=10))
def test_who_is_no_admin_and_no_staff_reads_only_runs_of_their_proposals(
    catalog: AnyCatalog, access: Access, stored: list[dict[str, Any]]
) -> None:
    if access.data_admin or catalog.beamline in access.beamlines:
        return
    for start in stored:
        if access.allows(catalog, start):
            uid = start.get("uid")
            uids: list[Any] = uid if isinstance(uid, list) else [uid]
            moved = access.overrides.get("csx", {})
            named: set[str | None] = {moved[uid] for uid in uids if uid in moved}
            named = named or {catalog.proposal.proposal(start)}
            assert named & access.proposals


def test_five_thousand_proposals_are_one_plain_list_of_values(catalogs: dict[str, Catalog]) -> None:
    access = Access(proposals=frozenset(str(n) for n in range(300_000, 305_000)))
    first, second = access.filter(catalogs["csx"])["$or"]
    assert len(first["data_session"]["$in"]) == 5000
    assert len(second["proposal.proposal_id"]["$in"]) == 10_000  # as text and as number


# -- the rights that SQL tells ------------------

moments = st.sampled_from([None, -1e6, -1.0, 3600.0, 1e6]).map(
    lambda seconds: None if seconds is None else timezone.now() + timedelta(seconds=seconds)
)


@st.composite
def worlds(draw: st.DrawFn) -> list[dict[str, Any]]:
    return draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "public_from": moments,
                    "proprietary": st.booleans(),
                    "locked": st.booleans(),
                    "members": st.dictionaries(st.sampled_from(["alice", "bob"]), moments),
                    "moved": st.frozensets(st.sampled_from([("csx", "u1"), ("hxn", "u1")])),
                }
            ),
            max_size=5,
        )
    )


@contextmanager
def rolled_back() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def create(world: list[dict[str, Any]], people: People) -> None:
    moved: set[tuple[str, str]] = set()
    for number, item in enumerate(world):
        fields = {name: item[name] for name in ("public_from", "proprietary", "locked")}
        proposal = Proposal.objects.create(proposal_id=f"new-{number}", **fields)
        for name, expires in item["members"].items():
            user = getattr(people, name)
            Membership.objects.create(proposal=proposal, user=user, expires=expires)
        for catalog, uid in item["moved"] - moved:
            RunOverride.objects.create(
                catalog=catalog, run_uid=uid, proposal=proposal, reason="wrong tag"
            )
        moved |= item["moved"]


def everybody(people: People) -> list[User | AnonymousUser]:
    return [people.alice, people.bob, people.sue, people.dan, AnonymousUser()]


@settings(quick, max_examples=25)
@given(world=worlds())
def test_the_rights_read_by_sql_are_those_that_the_models_tell(
    world: list[dict[str, Any]], people: People
) -> None:
    with rolled_back():
        create(world, people)
        for user in everybody(people):
            access = access_of(user)
            readable = Proposal.objects.readable_by(user.pk)
            assert access.proposals == set(readable.values_list("proposal_id", flat=True))
            assert access.data_admin == (user == people.dan)
            staffed = Beamline.objects.filter(staff=user.pk) if user.pk else Beamline.objects.none()
            assert access.beamlines == set(staffed.values_list("name", flat=True))
            locked = set(Proposal.objects.filter(locked=True).values_list("proposal_id", flat=True))
            assert not access.proposals & locked
            if access.beamlines:
                assert access.locked == locked
            told = {
                (catalog, uid): proposal
                for catalog, runs in access.overrides.items()
                for uid, proposal in runs.items()
            }
            rows = RunOverride.objects.values_list("catalog", "run_uid", "proposal__proposal_id")
            assert told == {(catalog, uid): proposal for catalog, uid, proposal in rows}


def test_a_deactivated_user_has_the_rights_of_nobody(people: People) -> None:
    """ABUSE-CASES 17."""
    for user in (people.alice, people.sue, people.dan):
        User.objects.filter(pk=user.pk).update(is_active=False)
        user.refresh_from_db()
        assert access_of(user) == access_of(AnonymousUser())


# -- any filter of a caller within any policy ------------------

ODDLY_NAMED: list[dict[str, Any]] = [
    {"data_session": "pass-310001", "proposal": {"proposal_id": 310000}},
    {"data_session": ["pass-310000", "pass-310001"]},
    {"data_session": "pass-", "proposal": {"proposal_id": "310000"}},
    {"proposal": [{"proposal_id": 310000}]},
    {"proposal": "310001"},
    {"proposal": {"proposal_id": 310001.0}},
]
OWNERS = ["310000", "310001", "312000", "319999", None]
leaf = st.one_of(
    st.fixed_dictionaries({"plan_name": st.sampled_from(["scan", "count", None])}),
    st.fixed_dictionaries({"data_session": st.sampled_from(["pass-310001", {"$exists": False}])}),
    st.fixed_dictionaries({"proposal.proposal_id": st.sampled_from([310001, {"$gt": 0}])}),
    st.fixed_dictionaries({"uid": st.sampled_from([{"$exists": True}, {"$ne": "x"}])}),
    st.fixed_dictionaries({"stop.exit_status": st.sampled_from(["success", {"$ne": "success"}])}),
    st.fixed_dictionaries({"descriptor.name": st.sampled_from(["primary", {"$exists": True}])}),
    st.just({}),
)
trees = st.recursive(
    leaf,
    lambda inner: (
        st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=3)})
        | st.fixed_dictionaries({"$and": st.lists(inner, min_size=1, max_size=2)})
        | st.fixed_dictionaries({"$not": inner})
    ),
    max_leaves=5,
)
filters = st.fixed_dictionaries(
    {"query": trees.map(json.dumps)},
    optional={
        "plan_name": st.sampled_from(["scan", "count"]),
        "proposal": st.sampled_from(["310000", "310001", "319999"]),
        "exit_status": st.sampled_from(["success", "open"]),
        "search": st.sampled_from(["gold", "310001"]),
        "ordering": st.sampled_from(["time", "-time"]),
    },
)


@pytest.fixture
def odd_runs(recorder: Recorder, people: People) -> Recorder:
    """Runs whose proposals are named plainly, oddly, doubly, not at all, or overridden."""
    locked = Proposal.objects.create(proposal_id="319999", locked=True)
    Membership.objects.create(proposal=locked, user=people.alice)
    for catalog, owner in itertools.product(("csx", "hxn"), OWNERS):
        recorder.run(owner, catalog, events=0)
        recorder.run(owner, catalog, events=0, plan_name="count", exit_status=None)
    for number, named in enumerate(ODDLY_NAMED):
        odd = {"uid": f"odd-{number}", "time": EPOCH + number, **named}
        recorder.insert("csx", "run_start", odd)
        recorder.insert("hxn", "run_start", odd)
    moved = recorder.run("310000", events=0)
    RunOverride.objects.create(
        catalog="csx", run_uid=moved, proposal=Proposal.objects.get(proposal_id="310001")
    )
    return recorder


@settings(quick, max_examples=8)
@given(chosen=filters)
def test_a_filter_selects_from_what_the_caller_may_read_and_nothing_else(
    chosen: dict[str, str], odd_runs: Recorder, acting_as: Actor, people: People, commands: Commands
) -> None:
    """ABUSE-CASES 3 and 5."""
    commands.sent.clear()
    everything = acting_as("dan").get("/api/v1/headers/", chosen).json()["results"]
    parameters = {name: value for name, value in chosen.items() if name != "ordering"}
    for actor in ("alice", "bob", "sue", "nobody"):
        client = acting_as(actor)
        access = access_of(getattr(people, actor, AnonymousUser()))
        mine = client.get("/api/v1/headers/", chosen).json()["results"]
        allowed = [
            run
            for run in everything
            if access.allows(odd_runs.catalogs[run["catalog"]], run["start"])
        ]
        assert [run["uid"] for run in mine] == [run["uid"] for run in allowed]
        counted = client.get("/api/v1/headers/count/", parameters).json()
        assert counted == {"count": len(allowed)}
    sent = " ".join(str(event.command) for event in commands.sent)
    for operator in ("$where", "$function", "$accumulator", "$out", "$merge"):
        assert operator not in sent
