"""The page of one run at a browser: what stays in sight, what is compared, what is copied."""

import os
import re
import subprocess
from pathlib import Path

from playwright.sync_api import Route, expect

from demo.load import manifest
from tests.browser.conftest import PHONE, Visit, Visitor
from tests.browser.test_run import newest, table

CSX = manifest()["csx"]
NAME = ".neighbours a[rel=%s]"


def other(person: Visitor, rel: str) -> str:
    address = person.page.locator(NAME % rel).get_attribute("href")
    assert address is not None
    return address.split("/")[2]


def test_previous_and_next_follow_the_list_that_was_left(visit: Visit) -> None:
    alice = visit("alice")
    uids = [
        run["uid"]
        for run in alice.api("/api/v1/headers/?plan_name=grid_scan&page_size=10")["results"]
    ]
    alice.open("/runs/?plan_name=grid_scan")
    alice.page.locator(f"a[href='/runs/{uids[1]}/']").first.click()
    alice.page.locator(NAME % "prev").wait_for()
    assert (other(alice, "prev"), other(alice, "next")) == (uids[2], uids[0])
    alice.page.locator(NAME % "prev").click()
    alice.page.wait_for_url(f"**/runs/{uids[2]}/")
    alice.page.locator(NAME % "next").wait_for()
    assert other(alice, "next") == uids[1]


def test_previous_and_next_of_an_address_are_of_its_catalog(visit: Visit) -> None:
    alice = visit("alice")
    runs = alice.api("/api/v1/headers/?catalog=hxn&page_size=3")["results"]
    alice.open(f"/runs/{runs[1]['uid']}/")
    alice.page.locator(NAME % "prev").wait_for()
    assert (other(alice, "prev"), other(alice, "next")) == (runs[2]["uid"], runs[0]["uid"])


def test_the_name_of_the_run_stays_in_sight(visit: Visit) -> None:
    for options in ({}, {"viewport": PHONE}):
        person = visit(None, **options)
        person.open(f"/runs/{CSX['public']}/")
        person.page.evaluate("scrollTo(0, document.body.scrollHeight)")
        expect(person.page.get_by_role("heading", level=1)).to_be_in_viewport()
        covered = person.page.get_by_role("heading", level=1).evaluate(
            "h => { const b = h.getBoundingClientRect();"
            " return h.contains(document.elementFromPoint(b.x + 5, b.y + b.height / 2)); }"
        )
        assert covered


def test_before_and_after_shows_what_differs_first(visit: Visit) -> None:
    alice = visit("alice")
    query = '{"stop.num_events.baseline": 2}'
    uid = newest(alice, query=query, exit_status="success")
    alice.open(f"/runs/{uid}/")
    place = alice.page.locator("[data-aside]")
    place.scroll_into_view_if_needed()
    columns = table(alice, uid, "baseline")
    own = {name: values for name, values in columns.items() if name not in ("seq_num", "time")}
    differing = {name for name, (before, after) in own.items() if before != after}
    shown = place.locator("[aria-label='What differs'] tbody tr")
    expect(shown).to_have_count(len(differing))
    rows = [row.split("\t") for row in shown.all_inner_texts()]
    assert differing
    assert {row[0].split()[0] for row in rows} == differing
    for name, before, after, by in rows:
        was, now = own[name.split()[0]]
        assert float(before) == float(f"{was:.6g}")
        assert float(after) == float(f"{now:.6g}")
        assert abs(float(by.replace("−", "-")) - (now - was)) <= abs(now - was) * 1e-4
    place.get_by_text(f"{len(own) - len(differing)} without a difference").click()
    rest = place.locator("[aria-label='What does not differ'] tbody tr")
    assert rest.count() == len(own) - len(differing)


def test_the_head_of_the_table_has_units_and_stays(visit: Visit) -> None:
    person = visit(None, viewport={"width": 1000, "height": 400})
    person.open(f"/runs/{CSX['public']}/")
    person.page.locator("#stream-1").get_by_text("Table", exact=True).click()
    head = person.page.locator("#stream-1 .events th", has_text="theta").first
    head.wait_for()
    assert head.inner_text().split() == ["theta", "deg"]
    scroll = person.page.locator("#stream-1 .events")
    scroll.evaluate("place => { place.scrollTop = place.scrollHeight; }")
    tops = [item.evaluate("e => e.getBoundingClientRect().top") for item in (scroll, head)]
    assert abs(tops[0] - tops[1]) < 2


def test_what_did_not_come_can_be_asked_for_again(visit: Visit) -> None:
    person = visit(None)
    fails = [True]

    def broken(route: Route) -> None:
        if fails[0]:
            route.fulfill(status=503, content_type="application/json", body='{"detail": "Busy."}')
        else:
            route.continue_()

    person.page.route(re.compile("/table/"), broken)
    person.open(f"/runs/{CSX['public']}/")
    person.page.locator("#stream-1").get_by_text("Table", exact=True).click()
    expect(person.page.locator("#stream-1 [data-table] [role=alert]")).to_contain_text("Busy.")
    fails[0] = False
    buttons = person.page.get_by_role("button", name="Try again")
    for _ in range(buttons.count()):
        buttons.first.click()
    person.plotted("#stream-1 [data-plot]")
    person.page.locator("#stream-1 .events tbody tr").first.wait_for()
    expect(person.page.get_by_role("button", name="Try again")).to_have_count(0)
    person.errors.clear()  # the browser tells of each 503


def test_the_copied_commands_run_and_stop_at_errors(visit: Visit, tmp_path: Path) -> None:
    alice = visit("alice")
    uid = newest(alice, query='{"purpose": "speckle while warming up"}', catalog="csx")
    alice.open(f"/runs/{uid}/")
    code = alice.page.get_by_label("With curl").inner_text()
    answer = alice.page.request.post(
        f"{alice.site}/api/v1/auth/token/",
        data={"username": "alice", "password": "alice-demo-2026"},
    )
    token = answer.json()["access"]

    def run(commands: str) -> int:
        environment = os.environ | {"DBSERVICE_TOKEN": token}
        done = subprocess.run(
            ["bash", "-c", commands],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            check=False,
        )
        return done.returncode

    assert run(code) == 0
    assert (tmp_path / "frame.npy").read_bytes().startswith(b"\x93NUMPY")
    assert (tmp_path / "run.h5").read_bytes().startswith(b"\x89HDF")
    assert (tmp_path / "primary.csv").read_text().startswith('"seq_num","time"')
    assert run(code.replace(uid, "11111111-2222-3333-4444-555555555555")) == 22
