"""Sums are answered from counts that are kept with the rows: they stay what the rows say."""

import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headers.index import listing
from headers.index.counts import COUNTED_COLUMNS, OF_ALL
from headers.index.listing import Wanted
from headers.index.models import IndexedRun, RunCount, RunValue
from headers.index.overrides import follow_overrides
from headers.index.rows import Ending
from headers.index.store import clear, remove_rows, set_endings
from policies.models import Proposal, RunOverride
from policies.rule.access import Access
from tests.headers.test_index_listing import ADMIN, ALICE, SUE, World
from tests.policies.test_access_rule import rolled_back

pytestmark = pytest.mark.django_db
Counts = Counter[tuple[str, int, str, str]]


def kept() -> Counts:
    rows = RunCount.objects.values_list("path", "source", "value", "proposal", "runs")
    return Counter({(path, at, value, of): runs for path, at, value, of, runs in rows if runs})


def counted() -> Counts:
    """The same from the rows."""
    found: Counts = Counter()
    for run in IndexedRun.objects.filter(time__isnull=False):
        where = run.source_id, run.proposal
        pairs = [("", ""), *((f".{name}", getattr(run, name)) for name in COUNTED_COLUMNS)]
        pairs += RunValue.objects.filter(run=run).values_list("path", "value")
        for path, v in pairs:
            if v is not None:
                found.update([(path, where[0], v, where[1]), (OF_ALL + path, where[0], v, "")])
    return found


def test_the_counts_begin_with_what_runs_have() -> None:
    world = World()
    world.run("u1", plan_name="scan", motors=["th", "x"], owner="ann")
    world.run("u2", plan_name="scan", motors=["th"], stop=None)
    world.run("u3", time="noon", plan_name="never")
    source = world.sources["csx"].pk
    assert kept() == counted()
    assert kept()["", source, "", "310000"] == 2
    assert kept()["motors", source, '"th"', "310000"] == 2
    assert kept()[".exit_status", source, "open", "310000"] == 1


steps = st.lists(
    st.tuples(
        st.sampled_from(["run", "end", "move", "back", "rename", "remove", "clear"]),
        st.integers(0, 5),
    ),
    max_size=25,
)


@settings(deadline=None)
@given(steps=steps)
def test_the_counts_stay_what_the_rows_say(steps: list[tuple[str, int]]) -> None:
    follow_overrides()
    with rolled_back():
        world, numbers = World(), itertools.count()
        for step, number in steps:
            take(world, step, number, numbers)
            assert kept() == counted()


def take(world: World, step: str, number: int, numbers: Any) -> None:
    uid = f"uid-{number}"
    moved = RunOverride.objects.filter(catalog="csx", run_uid=uid)
    match step:
        case "run":
            fields = {"time": None} if number == 5 else {"plan_name": "scan", "motors": ["th"]}
            world.run(uid, f"31000{number % 3}", **fields, stop=None)
        case "end":
            set_endings(world.sources["csx"], {uid: Ending("fail", 5.0, 1)})
        case "move" if not moved.exists():
            proposal, _ = Proposal.objects.get_or_create(proposal_id="310009")
            RunOverride.objects.create(catalog="csx", run_uid=uid, proposal=proposal)
        case "back":
            for override in moved:
                override.delete()
        case "rename":
            for proposal in Proposal.objects.exclude(overrides=None):
                proposal.proposal_id = f"32{next(numbers):04}"
                proposal.save()
        case "remove":
            remove_rows(list(IndexedRun.objects.filter(uid=uid).values_list("pk", flat=True)))
        case "clear" if number == 0:
            clear(world.sources["csx"])
            assert not RunCount.objects.filter(source=world.sources["csx"]).exists()


@pytest.mark.parametrize("few", [0, listing.FEW], ids=["many", "few"])
@pytest.mark.parametrize("access", [ADMIN, ALICE, SUE, Access()], ids=["dan", "alice", "sue", "no"])
def test_sums_are_those_of_the_runs_listed(
    access: Access, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "FEW", few)
    world = World()
    for n in range(30):
        proposal, catalog = ("310000", "310001", "310009")[n % 3], ("csx", "hxn")[n % 2]
        plan, motors = ("scan", "", None)[n % 5 % 3], ["th", "x"][: n % 4]
        stop = None if n % 7 == 0 else {"exit_status": ("success", "fail")[n % 2]}
        world.run(f"u{n}", proposal, catalog, plan_name=plan, motors=motors, stop=stop)
    found = world.listing(access)
    filters: list[dict[str, Any]] = [
        *({}, {"plan_name": "scan"}, {"plan_name": ""}, {"exit_status": "open"}),
        *({"exit_status": "fail"}, {"motors": ("th",)}, {"motors": ("th", "x")}),
        {"motors": ("th",), "exit_status": "fail"},
    ]
    for fields, of in itertools.product(filters, (None, "310000", "310009")):
        wanted = Wanted(**fields, proposal=of)
        keys = [entry.key for entry in found.page(wanted, 100)]
        rows = IndexedRun.objects.filter(pk__in=keys)
        assert found.count(wanted) == len(keys)
        for path in ("catalog", "plan_name", "exit_status", "proposal"):
            listed = Counter(rows.exclude(**{path: None}).values_list(path, flat=True))
            assert dict(found.facet(wanted, path)) == dict(listed)
        values = RunValue.objects.filter(run__in=keys, path="motors").values_list("value")
        assert sum(count for _, count in found.facet(wanted, "motors")) == len(values)
