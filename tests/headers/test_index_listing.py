"""What the index answers: pages in order, filters, counts, facets, keys."""

import itertools
from typing import Any

import pytest
from bson import ObjectId
from django.db import connection
from django.test.utils import CaptureQueriesContext

from headers.catalogs import Catalog
from headers.index import listing
from headers.index.listing import IndexPlace, Listing, Wanted, holding
from headers.index.rows import ending, row_of
from headers.index.store import add_rows, source_of
from policies.rule.access import Access

ADMIN = Access(data_admin=True)
ALICE = Access(proposals=frozenset({"310000"}))
SUE = Access(beamlines=frozenset({"csx"}), locked=frozenset({"310009"}))
Entries = dict[str, int]


class World:
    """Puts runs of the two catalogs into the index, without MongoDB."""

    def __init__(self) -> None:
        from django.conf import settings

        self.catalogs: dict[str, Catalog] = {c.name: c for c in settings.CATALOGS}
        self.sources = {c.name: source_of(c) for c in self.catalogs.values()}
        self._clock = itertools.count(1)

    def run(self, uid: Any, proposal: str = "310000", catalog: str = "csx", **fields: Any) -> None:
        stop = fields.pop("stop", {"exit_status": "success", "time": 1e9})
        start = {"_id": ObjectId(), "uid": uid, "time": float(next(self._clock))}
        start |= (
            {"data_session": f"pass-{proposal}"} if catalog == "csx" else {"proposal": proposal}
        )
        row = row_of(self.catalogs[catalog], start | fields)
        assert row is not None
        add_rows(self.sources[catalog], [(row, ending(row.time, [stop] if stop else []))])

    def listing(self, access: Access, *catalogs: str) -> Listing:
        names = catalogs or tuple(self.catalogs)
        return Listing(access, {self.sources[name].pk: self.catalogs[name] for name in names})

    def found(self, access: Access = ADMIN, **wanted: Any) -> list[str | None]:
        return [entry.uid for entry in self.listing(access).page(Wanted(**wanted), 100)]


@pytest.fixture
def world(db: None) -> World:
    return World()


@pytest.fixture(params=[0, listing.FEW], ids=["many", "few"])
def plans(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to find runs in order."""
    monkeypatch.setattr(listing, "FEW", request.param)


@pytest.mark.usefixtures("plans")
@pytest.mark.parametrize("ordering", listing.ORDERINGS)
@pytest.mark.parametrize("access", [ADMIN, ALICE, SUE])
def test_pages_hold_each_readable_run_once_and_in_order(
    ordering: str, access: Access, world: World
) -> None:
    expected = []
    for n in range(40):
        proposal, catalog = ("310000", "310001", "310009")[n % 3], ("csx", "hxn")[n % 2]
        fields = {"time": float(n // 5), "scan_id": n // 7}
        world.run(f"run-{n}", proposal, catalog, **fields)
        if world.listing(access).access.allows_proposal(world.catalogs[catalog], proposal):
            expected.append(f"run-{n}")
    page, after, found = world.listing(access), None, []
    while entries := page.page(Wanted(), 3, ordering=ordering, after=after):
        found += entries
        after = entries[-1].place
    assert sorted(str(entry.uid) for entry in found) == sorted(expected)
    key = listing._sort_key(ordering)
    assert found == sorted(found, key=key, reverse=ordering[0] == "-")


@pytest.mark.usefixtures("plans")
def test_every_filter_holds(world: World) -> None:
    world.run("uid-one", plan_name="scan", scan_id=5, sample={"name": "Gold Foil"}, motors=["th"])
    world.run("uid-two", "310001", plan_name="count", detectors=["det", "det2"], stop=None)
    world.run("uid-three", catalog="hxn", sample="ÄPFEL", stop={"exit_status": "fail"})
    assert world.found() == ["uid-three", "uid-two", "uid-one"]
    assert world.found(proposal="310001") == ["uid-two"]
    assert world.found(ALICE, proposal="310001") == []
    assert world.found(plan_name="scan") == world.found(scan_id=5) == ["uid-one"]
    assert world.found(uid="uid-t") == ["uid-three", "uid-two"]
    assert world.found(exit_status="open") == ["uid-two"]
    assert world.found(exit_status="fail") == ["uid-three"]
    assert world.found(motors=("th",)) == ["uid-one"]
    assert world.found(detectors=("det", "det2")) == ["uid-two"]
    assert world.found(detectors=("de",)) == []
    assert world.found(sample="gold f") == ["uid-one"]
    assert world.found(sample="äpf") == ["uid-three"]
    assert world.found(sample="%") == []
    assert world.found(search="äpfel") == ["uid-three"]
    assert world.found(search="FOIL gold") == ["uid-one"]
    assert world.found(search="foil silver") == world.found(search="-") == []
    assert world.found(since={"csx": 2.0, "hxn": 2.0}) == ["uid-three", "uid-two"]
    assert world.found(since={"csx": 2.0, "hxn": 9.0}) == ["uid-two"]
    assert world.found(until={"csx": 2.0, "hxn": 9.0}) == ["uid-three", "uid-one"]


@pytest.mark.parametrize("search", ["in", "As", "he", "it's", "NEAR' OR \"x", "a* (b", "\\"])
def test_a_search_is_words_whatever_it_is(search: str, world: World) -> None:
    world.run("u1", sample="In As He its s it near or x a b")
    assert world.found(search=search) == (["u1"] if search != "\\" else [])


def test_counts_and_facets_are_of_what_may_be_read(world: World) -> None:
    world.run("u1", plan_name="scan", motors=["th", "x"], scan_id=1)
    world.run("u2", plan_name="scan", motors=["th", 1, "1", True, 1.0])
    world.run("u3", "310001", plan_name="secret", motors=["hidden"])
    world.run("u4", "", "hxn", time="noon", plan_name="never")
    alice, dan = world.listing(ALICE), world.listing(ADMIN)
    assert (alice.count(Wanted()), dan.count(Wanted())) == (2, 3)
    assert dan.count(Wanted(plan_name="scan")) == 2
    assert alice.facet(Wanted(), "plan_name") == [("scan", 2)]
    assert dan.facet(Wanted(), "proposal") == [("310000", 2), ("310001", 1)]
    assert dan.facet(Wanted(), "catalog") == [("csx", 3)]
    motors = alice.facet(Wanted(), "motors")
    assert motors[0] == ("th", 2)
    assert sorted(map(repr, motors)) == ["('1', 1)", "('th', 2)", "('x', 1)", "(1, 1)", "(True, 1)"]
    assert alice.facet(Wanted(), "scan_id") == [(1, 1)]


def test_values_are_counted_alike_for_who_reads_all_but_what_is_locked(world: World) -> None:
    world.run("u1", motors=["th", "x"])
    world.run("u2", "310009", motors=["th", "locked"])
    world.run("u3", "", "hxn", motors=["other"])
    world.run("u4", motors=["timeless"], time=None)
    sue, dan = world.listing(SUE), world.listing(ADMIN)
    assert sorted(sue.facet(Wanted(), "motors")) == [("th", 1), ("x", 1)]
    assert sorted(sue.facet(Wanted(exit_status="success"), "motors")) == [("th", 1), ("x", 1)]
    everything = [("locked", 1), ("other", 1), ("th", 2), ("x", 1)]
    assert sorted(dan.facet(Wanted(), "motors")) == everything
    assert sorted(dan.facet(Wanted(exit_status="success"), "motors")) == everything


def test_keys_find_runs(world: World) -> None:
    for n in range(5):
        world.run(f"aaaa{n}", "310001" if n == 4 else "310000", scan_id=n % 2)
    world.run("timeless", time=None)
    alice = world.listing(ALICE)

    def uid(entry: Any) -> Any:
        return entry and entry.uid

    assert [uid(alice.newest(n)) for n in (1, 4, 5)] == ["aaaa3", "aaaa0", None]
    assert uid(world.listing(ADMIN).newest(1)) == "aaaa4"
    assert uid(alice.by_scan_id(0)) == "aaaa2"
    assert alice.starting_with("aaaa4") == []
    assert len(alice.starting_with("aaaa")) == 2
    assert alice.starting_with("time") == ["timeless"]
    catalogs = list(world.catalogs.values())
    assert [catalog.name for catalog in holding("aaaa1", catalogs, ALICE)] == ["csx"]
    assert holding("aaaa4", catalogs, ALICE) == holding("aaaa\0", catalogs, ALICE) == []


def test_a_place_of_a_catalog_that_is_gone_still_is_a_place(world: World) -> None:
    world.run("u1")
    place = IndexPlace(2.0, "gone", b"")
    assert [entry.uid for entry in world.listing(ADMIN).page(Wanted(), 5, after=place)] == ["u1"]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (Wanted(), "run_by_time"),
        (Wanted(plan_name="scan"), "run_by_plan_name"),
        (Wanted(exit_status="open"), "run_by_exit_status"),
        (Wanted(scan_id=1), "run_by_scan_id"),
        (Wanted(proposal="310000"), "run_by_proposal"),
    ],
)
@pytest.mark.parametrize("access", [ADMIN, ALICE])
def test_sqlite_serves_a_page_in_order_from_one_index(
    wanted: Wanted, index: str, access: Access, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL plans by its statistics, which an empty table has none of")
    monkeypatch.setattr(listing, "FEW", -1)
    monkeypatch.setattr(listing, "FEW_SOURCES", 0)
    with CaptureQueriesContext(connection) as queries:
        world.listing(access).page(wanted, 10, after=IndexPlace(2.0, "csx", b"x"))
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {queries[-1]['sql']}")
        plan = [row[3] for row in cursor.fetchall()]
    assert any(index in step for step in plan), plan
    assert not any("TEMP B-TREE" in step for step in plan), plan
