"""Runs side by side, links by scan id, and who may open a link, without a browser."""

import json
import re
from typing import Any

import pytest
from django.utils.html import escape

from headers.differences import differences
from policies.models import Proposal
from tests.conftest import People
from tests.documents import Recorder
from tests.headers.test_pages import browser_of, text_of


def compared(page: str) -> list[dict[str, Any]]:
    """What the page's script is given of the runs."""
    found = re.search(r'<script id="compared" type="application/json">(.*?)</script>', page)
    assert found is not None
    return list(json.loads(found[1]))


def address(*uids: str) -> str:
    return "/compare/?" + "&".join(f"run={uid}" for uid in uids)


def test_each_reader_sees_of_a_link_what_they_may_read(people: People, recorder: Recorder) -> None:
    """ABUSE 6: a hidden run is as one that does not exist, in all that the page tells."""
    own, hidden, public = (recorder.run(proposal) for proposal in ("310000", "310001", "312000"))
    link = address(own, hidden, public)
    for actor, expected in {
        "alice": [own, public],
        "bob": [hidden, public],
        "sue": [own, hidden, public],
        "nobody": [public],
    }.items():
        page = text_of(browser_of(people, actor), link)
        assert [run["uid"] for run in compared(page)] == expected
        missing = 3 - len(expected)
        assert (f"{missing} of the runs in this link" in page) == bool(missing)
    alice = browser_of(people, "alice")
    absent = "11111111-2222-3333-4444-555555555555"
    pages = [
        re.sub(r"\b\w{64}\b", "", text_of(alice, address(own, key))).replace(key, "KEY")
        for key in (hidden, absent)
    ]
    assert pages[0] == pages[1]


def test_a_link_of_nothing_that_may_be_read_is_nothing(people: People, recorder: Recorder) -> None:
    hidden = recorder.run("310001")
    alice = browser_of(people, "alice")
    assert alice.get(address(hidden)).status_code == 404
    assert alice.get(address(hidden, hidden)).status_code == 404
    assert alice.get("/compare/").status_code == 400
    assert alice.get(address(*(f"{n:08}" for n in range(13)))).status_code == 400


def test_a_run_is_there_once_however_it_is_named(people: People, recorder: Recorder) -> None:
    uid = recorder.run()
    page = text_of(browser_of(people, "alice"), address(uid, uid, uid[:8], "-1"))
    assert [run["uid"] for run in compared(page)] == [uid]


def test_only_what_differs_is_told(people: People, recorder: Recorder) -> None:
    """ABUSE 23: as text, whatever it is."""
    hostile = "<img src=x onerror=alert(1)>"
    first = recorder.run(temperature=4.2, sample={"name": "gold", "batch": 1}, cycle="2026-1")
    second = recorder.run(temperature=300, sample={"name": "gold", "batch": 2}, cycle="2026-1")
    odd: dict[str, Any] = {"temperature": 4.2, hostile: hostile, "cycle": "2026-1"}
    third = recorder.run(**odd)
    page = text_of(browser_of(people, "alice"), address(first, second, third))
    table = page.split('class="differing"')[1]
    paths = re.findall(r'scope="row" class="mono"><bdi>(.*?)</bdi>', table)
    assert set(paths) == {"temperature", "sample.batch", escape(hostile)}
    assert hostile not in page


def test_differences_are_bounded_and_cut() -> None:
    wide = {f"key{n}": n for n in range(20_000)}
    assert len(differences([wide, {}])) == 5000
    [long] = differences([{"a": "x" * 1000}, {"a": 1}])
    assert [len(value or "") for value in long.values] == [300, 1]
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"down": deep}
    assert differences([deep, deep]) == []
    same = {"value": float("nan"), "list": [1, {"a": 2}]}
    assert differences([same, {**same, "list": [1, {"a": 3}]}])[0].path == "list"


def test_a_scan_id_leads_to_its_newest_run_in_that_catalog(
    people: People, recorder: Recorder
) -> None:
    recorder.run(scan_id=7)
    newest = recorder.run(scan_id=7)
    hidden = recorder.run("310001", scan_id=7)
    recorder.run(catalog="hxn", scan_id=7)
    alice = browser_of(people, "alice")
    answer = alice.get("/runs/csx/7/?x=time&scale=log")
    assert (answer.status_code, answer["Location"]) == (302, f"/runs/{newest}/?x=time&scale=log")
    assert browser_of(people, "bob").get("/runs/csx/7/")["Location"] == f"/runs/{hidden}/"
    for nothing in ("/runs/csx/8/", "/runs/none/7/", "/runs/csx/99999999999999999999999/"):
        assert alice.get(nothing).status_code == 404
    assert browser_of(people, "nobody").get("/runs/csx/7/").status_code == 404


def test_digits_are_a_scan_id_and_no_beginning_of_a_uid(people: People, recorder: Recorder) -> None:
    recorder.run(uid="123456-7890", scan_id=1)
    assert browser_of(people, "alice").get("/runs/csx/123456/").status_code == 404


@pytest.mark.parametrize(
    ("proposal", "expected"),
    [
        ("310000", ["current members of the proposal 310000", "staff of the beamline csx"]),
        ("312000", ["everybody, without signing in: the proposal 312000 is public"]),
        ("999999", ["staff of the beamline csx, as the proposal 999999 is not known here"]),
        (None, ["staff of the beamline csx, as the run has no proposal"]),
    ],
)
def test_a_run_says_who_may_open_its_link(
    proposal: str | None, expected: list[str], people: People, recorder: Recorder
) -> None:
    uid = recorder.run(proposal)
    for path in (f"/runs/{uid}/", address(uid)):
        page = text_of(browser_of(people, "dan"), path)
        readers = page.split("Who can open it")[1].split("</div>")[0]
        for group in expected:
            assert group in readers
        assert "alice" not in readers  # people are named to nobody


def test_a_locked_proposal_is_for_data_admins_only(people: People, recorder: Recorder) -> None:
    Proposal.objects.filter(proposal_id="310000").update(locked=True)
    page = text_of(browser_of(people, "dan"), f"/runs/{recorder.run('310000')}/")
    assert "only data admins of the facility, as the proposal 310000 is locked" in page


def test_who_is_sent_to_sign_in_comes_back_to_what_they_looked_for(
    people: People, recorder: Recorder
) -> None:
    """The link to sign in is the same for a hidden run and for none."""
    hidden = recorder.run("310000")
    nobody = browser_of(people, "nobody")
    for path in (f"/runs/{hidden}/?x=time&y=a b", "/runs/nonsense/", address(hidden), "/nowhere/"):
        answer = nobody.get(path, HTTP_ACCEPT="text/html")
        assert answer.status_code == 404
        asked = answer.wsgi_request.get_full_path()
        links = re.findall(r'href="/login/\?next=([^"]+)"', answer.content.decode())
        assert len(links) == 2  # in the bar, and where it is said that nothing is here
        for link in links:
            page = nobody.get(f"/login/?next={link}").content.decode()
            assert f'name="next" value="{escape(asked)}"' in page
