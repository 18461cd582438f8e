"""The index follows the catalogs: what comes, what ends, what goes, and what is away."""

import threading
import time
from concurrent.futures import wait
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from bson import ObjectId
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError

from headers.catalogs import Catalog
from headers.index import catch_up as catching
from headers.index.catch_up import Index, catch_up, current_index, fresh_index, take_turn
from headers.index.listing import Listing, Wanted
from headers.index.models import IndexedRun, RunValue, Source
from headers.index.repositories import Documents
from headers.mongo import CatalogUnavailable, database
from policies.rule.access import Access
from policies.rule.proposal_paths import ProposalPath, ProposalPaths
from tests.documents import EPOCH, Recorder

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catching, "SECONDS_BETWEEN", -1.0)
    monkeypatch.setattr(catching, "WAIT_SECONDS", 10.0)


def fresh() -> Index:
    return fresh_index(settings.CATALOGS, settings.CATALOGS)


def listed(index: Index | None = None, **wanted: Any) -> list[str | None]:
    listing = Listing(Access(data_admin=True), (index or fresh()).catalogs)
    return [entry.uid for entry in listing.page(Wanted(**wanted), 1000)]


def test_runs_are_there_as_soon_as_they_are_written(recorder: Recorder) -> None:
    assert listed() == []
    first = recorder.run(catalog="csx", exit_status=None)
    assert listed() == listed(exit_status="open") == [first]
    second = recorder.run(catalog="hxn")
    recorder.stop(first, exit_status="fail", time=EPOCH + 7, num_events={"primary": 3, "b": 4})
    assert listed() == [second, first]
    assert (listed(exit_status="open"), listed(exit_status="fail")) == ([], [first])
    row = IndexedRun.objects.get(uid=first)
    assert (row.events, row.duration) == (7, 7.0)


def test_what_is_written_behind_a_little_later_is_found(recorder: Recorder) -> None:
    """Writers' clocks differ, also by far into the future."""
    recorder.insert("csx", "run_start", {"_id": ObjectId("ff" * 12), "uid": "ahead", "time": 1.0})
    listed()
    late = ObjectId(int(time.time() - 60).to_bytes(4, "big") + b"12345678")
    recorder.insert("csx", "run_start", {"_id": late, "uid": "behind", "time": 2.0})
    assert listed() == ["behind", "ahead"]


def test_ids_of_any_kind_are_indexed(recorder: Recorder) -> None:
    for n, key in enumerate(["text", 5, 5.5, b"bytes", ObjectId(), {"a": 1}]):
        recorder.insert("csx", "run_start", {"_id": key, "uid": f"run-{n}", "time": float(n)})
    recorder.insert("csx", "run_start", {"_id": "x" * 2000, "uid": "long", "time": 1.0})
    assert listed() == [f"run-{n}" for n in reversed(range(6))]
    source = Source.objects.get(catalog="csx")
    keys = [bytes(key) for key in IndexedRun.objects.values_list("document", flat=True)]
    assert Documents(settings.CATALOGS[0]).present(keys) == set(keys)
    assert source.filled


def test_the_first_fill_is_newest_first_and_goes_on_where_it_was(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headers.index import repositories

    uids = [recorder.run() for _ in range(7)]
    monkeypatch.setattr(repositories, "BATCH", 2)
    index = current_index(settings.CATALOGS)
    catch_up(index, fill_seconds=0.0001)
    index = current_index(settings.CATALOGS)
    while index.incomplete:
        assert set(index.incomplete) <= {"csx", "hxn"}
        found = listed(index)
        assert found == uids[::-1][: len(found)]
        if len(found) == 2:
            recorder.run(proposal="310001", uid="came meanwhile", time=EPOCH + 100)
            uids.append("came meanwhile")
        catch_up(index, fill_seconds=0.0001)
        index = current_index(settings.CATALOGS)
    assert listed(index) == uids[::-1]


def test_another_way_to_find_proposals_hides_every_run_that_was_not_read_so(
    recorder: Recorder,
) -> None:
    run = recorder.run("310000")
    assert listed() == [run]
    changed = [
        replace(catalog, proposal=ProposalPaths((ProposalPath("sample.name"),)))
        for catalog in settings.CATALOGS
    ]
    index = current_index(changed)
    assert listed(index) == []
    catch_up(index)
    assert listed(current_index(changed), proposal="gold") == [run]
    assert listed(proposal="310000") == [run]


def test_one_at_a_time_catches_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catching, "SECONDS_BETWEEN", 1.0)
    now = time.time()
    assert [take_turn(now + after) for after in (0, 0.5, 1.1, 1.2)] == [True, False, True, False]
    assert take_turn(now - 100), "a clock that was put back does not stop it"


def test_a_catalog_that_is_away_is_named_and_its_runs_stay(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recorder.run(catalog="hxn")
    fresh()
    news = Documents.news

    def away(self: Documents, *args: Any) -> Any:
        if self.catalog.name == "hxn":
            raise CatalogUnavailable(self.catalog, "test")
        return news(self, *args)

    monkeypatch.setattr(Documents, "news", away)
    index = fresh()
    assert (index.unavailable, listed(index)) == (["hxn"], [run])
    monkeypatch.undo()
    monkeypatch.setattr(catching, "SECONDS_BETWEEN", -1.0)
    assert fresh().unavailable == []


def test_a_slow_catalog_is_listed_as_it_is_known_until_it_has_answered(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = recorder.run()
    fresh()
    news, may_answer = Documents.news, threading.Event()

    def slow(self: Documents, *args: Any) -> Any:
        may_answer.wait(20)
        return news(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Documents, "news", slow)
        patch.setattr(catching, "WAIT_SECONDS", 0.01)
        new = recorder.run()
        try:
            index = fresh()
            assert (index.unavailable, listed(index)) == ([], [known])
            patch.setattr(catching, "LATE_SECONDS", 0.0)
            assert fresh().unavailable == ["csx", "hxn"]
        finally:
            may_answer.set()
    # Nobody is asked again: what was answered in the meantime is taken.
    monkeypatch.setattr(Documents, "news", None)
    index = fresh()
    assert (index.unavailable, listed(index)) == ([], [new, known])


def test_no_list_waits_for_a_catalog_that_has_been_slow(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    news, may_answer = Documents.news, threading.Event()
    monkeypatch.setattr(catching, "WAIT_SECONDS", 60.0)
    monkeypatch.setattr(catching, "BRISK_SECONDS", 0.0)
    known = recorder.run()
    assert listed(fresh()) == [known]  # two questions, each of which takes longer than no time

    def slow(self: Documents, *args: Any) -> Any:
        may_answer.wait(20)
        return news(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Documents, "news", slow)
        new = recorder.run()
        try:
            assert listed(fresh()) == [known]
        finally:
            may_answer.set()
        wait(list(catching._late_news.values()), 20)
        assert listed(fresh()) == [new, known]
    monkeypatch.setattr(catching, "BRISK_SECONDS", 60.0)
    newest = recorder.run()
    assert listed(fresh()) == [newest, new, known]


def test_what_is_known_is_listed_while_nothing_can_be_written(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recorder.run()
    fresh()

    def full(*_: Any) -> None:
        raise OperationalError("database or disk is full")

    monkeypatch.setattr(catching, "catch_up", full)
    assert listed() == [run]


def command(name: str, **options: Any) -> str:
    output = StringIO()
    call_command(name, stdout=output, **options)
    return output.getvalue()


def test_index_runs_fills_verifies_and_rebuilds(
    recorder: Recorder, catalogs: dict[str, Catalog]
) -> None:
    runs = [recorder.run(motors=["th"]) for _ in range(3)]
    assert "csx: 3 runs are indexed" in command("index_runs")
    database(catalogs["csx"].metadata).run_start.delete_one({"uid": runs[0]})
    old = {"_id": ObjectId("00" * 11 + "01"), "uid": "old", "time": 1.0}
    recorder.insert("csx", "run_start", old)
    output = command("index_runs", catalog="csx", verify=True)
    assert "csx: 1 runs were missing, 1 were gone" in output
    assert "hxn" not in output
    assert listed() == [runs[2], runs[1], "old"]
    assert RunValue.objects.count() == 4
    IndexedRun.objects.update(proposal="wrong")
    assert "csx: 3 runs are indexed" in command("index_runs", rebuild=True)
    assert listed(proposal="wrong") == []
    assert listed(search="gold") == [runs[2], runs[1]]


def test_a_catalog_that_somebody_else_is_asking_is_not_unavailable(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when two first lists come at once: the second one waits for no answer of its own."""
    recorder.run()
    busy = catching._Busy()
    monkeypatch.setattr(catching, "_busy", busy)
    busy.enter("csx")
    assert fresh_index(settings.CATALOGS, settings.CATALOGS).unavailable == []
    busy.leave("csx")
    assert fresh_index(settings.CATALOGS, settings.CATALOGS).incomplete == {}
