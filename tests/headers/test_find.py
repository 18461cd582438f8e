"""What people type to find runs: the parameter `find` of lists, counts and facets."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from headers.find import FindError, terms_of, times_of
from headers.index import names
from policies.models import Membership
from tests.conftest import Actor, People
from tests.documents import Recorder

HEADERS, COUNT = "/api/v1/headers/", "/api/v1/headers/count/"
NEW_YORK = ZoneInfo("America/New_York")


def found(acting_as: Actor, *typed: str, actor: str = "dan", **filters: Any) -> set[str]:
    """The titles of the runs that are found."""
    client, parameters = acting_as(actor), {"find": list(typed)} | filters
    response = client.get(HEADERS, parameters)
    assert response.status_code == 200, response.content
    runs = response.json()["results"]
    assert client.get(COUNT, parameters).json()["count"] == len(runs)
    return {run["start"]["title"] for run in runs}


@pytest.fixture
def runs(recorder: Recorder) -> None:
    recorder.run(
        title="a", plan_name="grid_scan", scan_id=148000, sample={"name": "FeGd-0413"},
        motors=["Theta", "sx"], detectors=["fccd"],
    )  # fmt: skip
    recorder.run(
        title="b", plan_name="scan", scan_id=148050, sample="Si Grating", motors=["theta_2"],
        exit_status="fail", purpose="speckle while warming",
    )  # fmt: skip
    recorder.run(
        "310001", "hxn", title="c", plan_name="rel_scan", scan_id=148100, sample="ÄPFEL 310000",
        detectors=["diode"],
    )  # fmt: skip
    recorder.run(title="d", plan_name="count", scan_id=7, owner="O'Neil")


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["grid_scan"], "a"),
        (["SCAN"], "abc"),
        (["can"], "abc"),
        (["fegd"], "a"),
        (["rating"], "b"),
        (["speck"], "b"),
        (["äpf"], "c"),
        (["o'neil"], "d"),
        (["310000"], "abcd"),
        (["148050"], "b"),
        (["148000-148050"], "ab"),
        (["148050..148000"], "ab"),
        (["#7"], "d"),
        (["scan:148100"], "c"),
        (["scan fail"], ""),
        (["scan status:failed"], "b"),
        (["plan:scan"], "abc"),
        (['plan:"scan"'], "b"),
        (["plan:count plan:grid"], "ad"),
        (['sample:"si grating"'], "b"),
        (["sample:grat"], "b"),
        (["motor:theta"], "ab"),
        (['motor:"theta"'], "a"),
        (["det:fccd"], "a"),
        (["detector:DIO"], "c"),
        (["catalog:hxn"], "c"),
        (["proposal:310001"], "c"),
        (['"while warming"'], "b"),
        (["%"], ""),
        (["scan", "warming"], "b"),
    ],
)
@pytest.mark.parametrize("limit", [200, 0], ids=["by name", "by row"])
def test_terms_find_runs(
    typed: list[str],
    expected: str,
    limit: int,
    acting_as: Actor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if limit == 0 and not any(term.kind in ("motor", "detector") for term in terms_of(typed)):
        monkeypatch.setattr(names, "MAX_FOUND", 0)
    assert found(acting_as, *typed) == set(expected)


@pytest.mark.usefixtures("runs")
def test_nobody_finds_what_they_may_not_read(acting_as: Actor) -> None:
    assert found(acting_as, "scan", actor="alice") == {"a", "b"}
    assert found(acting_as, "sample:äpfel", actor="alice") == set()
    assert found(acting_as, "scan", actor="bob") == {"c"}


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("status:good", "use success, fail, abort or open"),
        ("scan:abc", "use scan:148000 or"),
        ("plan:", "right behind the colon"),
        ("since:soon", "2026-07-04"),
        ("day:someday", "yesterday"),
        ("catalog:none", "there are csx, hxn"),
        (" ".join(map(str, range(40))), "at most 16"),
        ("x" * 501, "500"),
    ],
)
def test_what_cannot_be_meant_is_explained(
    typed: str, told: str, acting_as: Actor, recorder: Recorder
) -> None:
    response = acting_as("alice").get(HEADERS, {"find": typed})
    assert response.status_code == 400
    assert told in response.content.decode()
    assert "find" in response.json()["detail"]


@pytest.mark.parametrize(
    ("days", "begin", "end"),
    [
        ("today", "2026-03-08", "2026-03-09"),
        ("Yesterday", "2026-03-07", "2026-03-08"),
        ("last night", "2026-03-07T18:00", "2026-03-08T08:00"),
        ("this week", "2026-03-02", None),
        ("last  week", "2026-02-23", "2026-03-02"),
        ("this month", "2026-03-01", None),
        ("last month", "2026-02-01", "2026-03-01"),
        ("last 2 hours", "2026-03-08T13:00", None),
        ("2026-02", "2026-02-01", "2026-03-01"),
        ("2026-03-08", "2026-03-08", "2026-03-09"),
        ("2026-01-30..2026-02", "2026-01-30", "2026-03-01"),
        ("since:2026", "2026-01-01", None),
        ("before:2026-02", None, "2026-02-01"),
        ("day:last night", "2026-03-07T18:00", "2026-03-08T08:00"),
    ],
)
def test_days_are_those_of_the_time_zone(days: str, begin: str | None, end: str | None) -> None:
    """On a day of 23 hours, too."""
    now = datetime(2026, 3, 8, 15, tzinfo=NEW_YORK).timestamp()
    (term,) = terms_of([days])

    def moment(text: str | None) -> float | None:
        return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp() if text else None

    assert times_of(term, NEW_YORK, now) == (moment(begin), moment(end))


def test_last_night_goes_on_until_the_evening() -> None:
    (term,) = terms_of(["last night"])
    at = datetime(2026, 7, 4, 2, tzinfo=NEW_YORK).timestamp()
    begin, end = times_of(term, NEW_YORK, at)
    assert begin is not None
    assert end is not None
    assert begin < at < end


@given(st.lists(st.text(max_size=60), max_size=3))
def test_anything_typed_is_terms_or_explained(typed: list[str]) -> None:
    try:
        terms = terms_of(typed)
    except FindError:
        return
    for term in terms:
        assert term.text in " ".join(typed)


def test_a_word_of_a_day_selects_the_day(
    acting_as: Actor, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 7, 4, 12, tzinfo=NEW_YORK)
    monkeypatch.setattr("headers.searching.time.time", now.timestamp)
    for title, hours in (("noon", 1), ("night", 11), ("evening", 16), ("week", 100)):
        recorder.run(title=title, time=(now - timedelta(hours=hours)).timestamp())
    assert found(acting_as, "today") == {"noon", "night"}
    assert found(acting_as, "last night") == {"night", "evening"}
    assert found(acting_as, "last night today") == {"night"}
    assert found(acting_as, "yesterday", since="2026-07-03") == {"evening"}


def test_this_beam_time_is_the_newest_days_of_the_callers_newest_proposal(
    acting_as: Actor, recorder: Recorder, people: People
) -> None:
    now = datetime(2026, 7, 4, 12, tzinfo=NEW_YORK)
    for title, proposal, days in (
        ("last", "310000", 10), ("middle", "310000", 11), ("first", "310000", 12),
        ("before", "310000", 14), ("others", "312000", 0), ("bobs", "310001", 1),
        ("older", "310002", 30),
    ):  # fmt: skip
        recorder.run(proposal, title=title, time=(now - timedelta(days=days)).timestamp())
    Membership.objects.create(proposal=_proposal("310002"), user=people.alice)
    assert found(acting_as, "this beam time", actor="alice") == {"last", "middle", "first"}
    assert found(acting_as, "beamtime", actor="alice", proposal="310002") == {"older"}
    assert found(acting_as, "beam time proposal:312000", actor="alice") == {"others"}
    assert found(acting_as, "beam time proposal:310001", actor="alice") == set()
    assert found(acting_as, "beam time", actor="nobody") == {"others"}
    Membership.objects.filter(user=people.alice, proposal__proposal_id="310000").update(
        expires=timezone.now()
    )
    assert found(acting_as, "this beam time", actor="alice") == {"older"}


def _proposal(name: str) -> Any:
    from policies.models import Proposal

    return Proposal.objects.get_or_create(proposal_id=name)[0]
