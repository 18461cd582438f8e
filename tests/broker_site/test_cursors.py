"""Pages of runs: every run once, in order, whichever way one walks; cursors cannot be forged."""

import base64
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker_site.cursors import purpose, read_cursor, write_cursor
from broker_site.problems import Problem
from headers.index.listing import Wanted
from headers.index.runs import IndexedRuns
from headers.index.store import start_anew
from headers.mongo import database
from headers.paging import Page, run_page
from policies.rule.access import Access
from tests.conftest import Actor
from tests.documents import Recorder

URL = "/api/v1/headers/"
quick = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

pytestmark = pytest.mark.django_db

# -- walking ------------------

times = st.sampled_from([-1.5, 0, 1, 1.0, 2.5, 1_750_000_000, 1e300])
stored_runs = st.lists(st.tuples(st.sampled_from(["csx", "hxn"]), times), max_size=14)


class Walk:
    """Pages of everything in the two catalogs, asked for one after the other."""

    def __init__(self, recorder: Recorder, size: int, newest_first: bool) -> None:
        self.catalogs = recorder.catalogs
        self.size = size
        self.newest_first = newest_first

    def page(self, cursor: str | None = None) -> Page:
        runs = IndexedRuns.of(list(self.catalogs.values()), Access(data_admin=True))
        ordering = "-time" if self.newest_first else "time"
        return run_page(runs, Wanted(), self.size, salt="here", cursor=cursor, ordering=ordering)

    def forward(self, page: Page) -> list[Page]:
        pages = [page]
        while pages[-1].next:
            pages.append(self.page(pages[-1].next))
        return pages

    def backward(self, page: Page) -> list[Page]:
        pages = [page]
        while pages[0].previous:
            pages.insert(0, self.page(pages[0].previous))
        return pages


def uids(pages: list[Page]) -> list[Any]:
    return [run.uid for page in pages for run in page.runs]


def store(recorder: Recorder, runs: list[tuple[str, float]], first: int = 0) -> None:
    for number, (catalog, time) in enumerate(runs, first):
        start = {"_id": ObjectId(f"{number:024x}"), "uid": f"run {number}", "time": time}
        recorder.insert(catalog, "run_start", start)


def in_order(runs: list[tuple[str, float]], newest_first: bool) -> list[str]:
    """By time, then catalog, then `_id`."""
    numbered = [(time, catalog, number) for number, (catalog, time) in enumerate(runs)]
    by_catalog = sorted(numbered, reverse=True)
    ordered = [f"run {number}" for _, _, number in by_catalog]
    return ordered if newest_first else ordered[::-1]


def clear(recorder: Recorder) -> None:
    for catalog in recorder.catalogs.values():
        database(catalog.metadata).run_start.delete_many({})
        start_anew(catalog)


@quick
@given(runs=stored_runs, size=st.integers(1, 6), newest_first=st.booleans())
def test_a_walk_forward_and_back_meets_every_run_once_in_order(
    runs: list[tuple[str, float]], size: int, newest_first: bool, recorder: Recorder
) -> None:
    """ABUSE-CASES 13: equal times never skip or repeat."""
    clear(recorder)
    store(recorder, runs)
    walk = Walk(recorder, size, newest_first)
    pages = walk.forward(walk.page())
    assert uids(pages) == in_order(runs, newest_first)
    assert all(len(page.runs) == size for page in pages[:-1])
    assert uids(walk.backward(pages[-1])) == in_order(runs, newest_first)


@quick
@given(
    runs=stored_runs.filter(bool),
    newer=st.lists(st.sampled_from(["csx", "hxn"]), max_size=4),
    size=st.integers(1, 4),
)
def test_runs_that_come_in_meanwhile_do_not_disturb_a_walk(
    runs: list[tuple[str, float]], newer: list[str], size: int, recorder: Recorder
) -> None:
    clear(recorder)
    store(recorder, runs)
    walk = Walk(recorder, size, newest_first=True)
    first = walk.page()
    store(recorder, [(catalog, 2e300) for catalog in newer], first=100)
    pages = walk.forward(first)
    assert uids(pages) == in_order(runs, newest_first=True)
    back = walk.backward(pages[-1])
    if len(pages) > 1:  # from further on, the way back leads to what is new
        assert uids(back)[-len(runs) :] == in_order(runs, newest_first=True)
        assert len(uids(back)) == len(runs) + len(newer)


# -- forging ------------------


@pytest.fixture
def cursor(acting_as: Actor, recorder: Recorder) -> str:
    """alice's cursor of the second page of her runs."""
    for _ in range(3):
        recorder.run(events=0)
    page = acting_as("alice").get(URL, {"page_size": 1}).json()
    return str(parse_qs(urlsplit(page["next"]).query)["cursor"][0])


def test_a_cursor_is_good_for_the_list_that_gave_it_at_any_page_size(
    cursor: str, acting_as: Actor
) -> None:
    page = acting_as("alice").get(URL, {"cursor": cursor, "page_size": "2"})
    assert page.status_code == 200
    assert len(page.json()["results"]) == 2


@pytest.mark.parametrize(
    ("actor", "parameters"),
    [
        ("bob", {}),
        ("nobody", {}),
        ("dan", {}),
        ("alice", {"ordering": "time"}),
        ("alice", {"catalog": "csx"}),
        ("alice", {"query": "{}"}),
        ("alice", {"include": "descriptors"}),
    ],
)
def test_a_cursor_of_somebody_else_or_of_other_filters_is_refused(
    actor: str, parameters: dict[str, str], cursor: str, acting_as: Actor
) -> None:
    """ABUSE-CASES 13."""
    response = acting_as(actor).get(URL, parameters | {"cursor": cursor})
    assert response.status_code == 400
    assert response.json()["detail"].startswith("cursor: is not one of this list")


@pytest.mark.parametrize("route", ["count/", "facets/"])
def test_a_cursor_means_nothing_to_other_routes(route: str, cursor: str, acting_as: Actor) -> None:
    """ABUSE-CASES 13."""
    fields = {"fields": "plan_name"} if route == "facets/" else {}
    response = acting_as("alice").get(URL + route, {"cursor": cursor} | fields)
    assert response.status_code == 400


@pytest.mark.parametrize(
    "forged",
    [
        "x",
        "!!!!",
        ":",
        "a:b:c",
        "\u00e9" * 10,
        "A" * 2001,
        base64.urlsafe_b64encode(b'{"time": 1}').decode(),
        base64.urlsafe_b64encode(b"\x05\0\0\0\0").decode(),
    ],
)
def test_what_we_did_not_write_is_refused(forged: str, acting_as: Actor) -> None:
    """ABUSE-CASES 13."""
    assert acting_as("nobody").get(URL, {"cursor": forged}).status_code == 400


@given(at=st.integers(0, 10_000), other=st.characters(codec="utf-8"))
def test_a_cursor_with_any_character_changed_is_refused(at: int, other: str) -> None:
    """ABUSE-CASES 13."""
    cursor = write_cursor({"time": 1.0, "id": ObjectId("0" * 24), "catalog": "csx"}, "here")
    at %= len(cursor)
    changed = cursor[:at] + other + cursor[at + 1 :]
    if changed == cursor:
        return
    with pytest.raises(Problem) as refused:
        read_cursor(changed, "here")
    assert refused.value.status == 400


def test_what_a_cursor_holds_comes_back_with_its_type() -> None:
    content = {"time": 1, "id": ObjectId("a" * 24), "backwards": False}
    assert read_cursor(write_cursor(content, "here"), "here") == content
    assert isinstance(read_cursor(write_cursor(content, "here"), "here")["time"], int)


def test_purposes_differ_with_any_of_their_parts() -> None:
    assert len({purpose("a", "b"), purpose("ab"), purpose("a", 1), purpose("a", "1")}) == 4
