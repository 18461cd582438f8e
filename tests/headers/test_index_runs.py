"""Runs found in the index come with their documents, judged again, within a budget."""

from typing import Any

import pytest
from django.conf import settings

from headers.catalogs import Catalog
from headers.index import catch_up as catching
from headers.index import runs as indexed
from headers.index.catch_up import fresh_index
from headers.index.listing import Wanted
from headers.index.models import IndexedRun
from headers.index.runs import IndexedRuns
from headers.mongo import database, resting
from headers.queries import compile_query
from policies.rule.access import Access
from tests.conftest import Commands
from tests.documents import EPOCH, Recorder

pytestmark = pytest.mark.django_db
ADMIN = Access(data_admin=True)
ALICE = Access(proposals=frozenset({"310000"}))


@pytest.fixture(autouse=True)
def _always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catching, "SECONDS_BETWEEN", -1.0)
    monkeypatch.setattr(catching, "WAIT_SECONDS", 10.0)


def runs_of(access: Access = ALICE) -> IndexedRuns:
    return IndexedRuns(fresh_index(settings.CATALOGS, settings.CATALOGS), access)


def titles(runs: Any) -> list[Any]:
    return [run.start.get("title") for run in runs]


def test_a_page_asks_only_catalogs_that_hold_its_runs(
    recorder: Recorder, commands: Commands
) -> None:
    recorder.run(title="one", catalog="hxn", time=EPOCH + 1)
    recorder.run(title="two", time=EPOCH + 2)
    runs = runs_of()
    commands.sent.clear()
    page = runs.page(Wanted(), 1, descriptors=True)
    assert titles(page.runs) == ["two"]
    assert (page.runs[0].stop or {})["exit_status"] == "success"
    assert len(page.runs[0].descriptors) == 1
    assert {event.database_name.endswith("_csx") for event in commands.sent} == {True}
    assert commands.names == ["find"] * 3
    following = runs.page(Wanted(), 1, after=page.last)
    assert titles(following.runs) == ["one"]
    assert following.last is None


@pytest.mark.parametrize(
    "query",
    [{"kind": "a"}, {"stop.exit_status": "fail"}, {"$or": [{"kind": "a"}, {"descriptor.name": 5}]}],
)
def test_conditions_the_index_does_not_hold_are_walked_to_the_end(
    query: Any, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when every page stops because its budget is over; hidden runs are never met."""
    expected = []
    for n in range(30):
        rare = n % 7 == 3
        proposal, catalog = ("310000", "310001")[n % 5 == 0], ("csx", "hxn")[n % 2]
        status = "fail" if rare else "success"
        recorder.run(proposal, catalog, title=n, kind="a" if rare else "b", exit_status=status)
        expected += [n] if rare and proposal == "310000" else []
    monkeypatch.setattr(indexed, "CHUNK", 4)
    asked = compile_query(query)
    assert runs_of().count(Wanted(), asked) == len(expected)
    for share, size in ((0.5, 2), (0.0, 2), (0.5, 100)):
        monkeypatch.setattr(indexed, "BUDGET_SHARE", share)
        found, after, pages = [], None, 0
        while True:
            runs = runs_of()
            page = runs.page(Wanted(), size, query=asked, after=after)
            assert bool(runs.incomplete) == (runs.searched_to is not None)
            found += titles(page.runs)
            pages += 1
            assert len(page.runs) <= size
            if page.last is None:
                break
            after = page.last
        assert found == expected[::-1]
        assert pages < 20


def test_counts_and_facets_say_how_far_they_came(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(9):
        recorder.run(kind="a" if n % 3 else "b", title=n)
    monkeypatch.setattr(indexed, "CHUNK", 3)
    runs = runs_of()
    assert runs.facet(Wanted(), "kind") == [("a", 6), ("b", 3)]
    assert runs.facet(Wanted(), "proposal", compile_query({"kind": "a"})) == [("310000", 6)]
    assert runs.incomplete == {}
    monkeypatch.setattr(indexed, "BUDGET_SHARE", 0.0)
    assert runs.count(Wanted(), compile_query({"kind": "a"})) == 2
    assert set(runs.incomplete) == {"csx", "hxn"}


def test_a_removed_document_is_left_out_and_forgotten(
    recorder: Recorder, catalogs: dict[str, Catalog]
) -> None:
    gone, stays = recorder.run(title="gone"), recorder.run(title="stays")
    runs = runs_of()
    database(catalogs["csx"].metadata).run_start.delete_one({"uid": gone})
    assert titles(runs.page(Wanted(), 10).runs) == ["stays"]
    assert IndexedRun.objects.get().uid == stays


def test_what_the_index_believes_does_not_open_a_run(recorder: Recorder) -> None:
    """The document decides once more; the row of a run that is hidden stays."""
    recorder.run("310001", title="hidden")
    runs = runs_of()
    IndexedRun.objects.update(proposal="310000")
    assert runs.page(Wanted(), 10).runs == []
    assert runs.fetch(runs.listing.page(Wanted(), 1)[0]) is None
    assert IndexedRun.objects.count() == 1


def test_runs_of_a_catalog_that_is_away_are_left_out_and_stay_indexed(
    recorder: Recorder, catalogs: dict[str, Catalog]
) -> None:
    recorder.run(title="one", catalog="hxn")
    recorder.run(title="two")
    runs = runs_of()
    resting.begin(catalogs["csx"])
    assert titles(runs.page(Wanted(), 10).runs) == ["one"]
    assert runs.unavailable == {"csx"}
    resting.clear()
    assert titles(runs.page(Wanted(), 10).runs) == ["two", "one"]


def test_odd_documents_come_back_under_their_ids(recorder: Recorder) -> None:
    for n, key in enumerate(["text", 5, 5.5, b"bytes", {"a": 1}]):
        document = {"_id": key, "title": n, "time": float(n), "data_session": "pass-310000"}
        recorder.insert("csx", "run_start", document | {"uid": f"run-{n}"})
    assert titles(runs_of().page(Wanted(), 10).runs) == [4, 3, 2, 1, 0]
