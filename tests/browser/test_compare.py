"""Comparing: ticked runs, their curves as numpy has them, and a page that is shared."""

import re
import time
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

from demo.load import manifest
from tests.browser.conftest import DESK, PHONE, Record, Visit, Visitor
from tests.browser.test_every_page import keep_picture, violations
from tests.browser.test_plots import columns_of, grid, scan

CSX = manifest()["csx"]
PLACE = "[data-compare]"


def two_scans(record: Record) -> list[str]:
    """Peaks at other places, one of them scanned downwards and on other points."""
    points = [
        [{"det": 5 + 100 * np.exp(-((x - c) ** 2)), "mon": 2.0, "sx": float(x)} for x in xs]
        for c, xs in ((0.2, np.linspace(-3, 3, 31)), (0.5, np.linspace(2, -4, 41)))
    ]
    uids = [
        record(scan(some, [["sx"]], scan_id=9000 + n, plan_name="scan", sample=f"S{n}"))
        for n, some in enumerate(points)
    ]
    time.sleep(1.1)  # lists look once a second whether there are new runs
    return uids


def compare(visit: Visit, uids: list[str], query: str = "", **options: Any) -> Visitor:
    alice = visit("alice", **options)
    alice.open("/compare/?" + "&".join(f"run={uid}" for uid in uids) + query)
    return alice


def columns(person: Visitor, uids: list[str]) -> list[dict[str, Any]]:
    return [{k: np.array(v) for k, v in columns_of(person, uid).items()} for uid in uids]


def values(drawn: dict[str, Any], uid: str) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in drawn["series"][uid]], float)


def test_ticked_runs_are_compared_also_from_several_pages(visit: Visit, record: Record) -> None:
    uids = two_scans(record)
    alice = visit("alice")
    for uid in uids:
        alice.open(f"/runs/?uid={uid}")
        alice.page.get_by_role("checkbox", name=re.compile("Tick scan #900")).check()
    expect(alice.page.get_by_text("2 runs ticked")).to_be_visible()
    alice.page.get_by_role("link", name="Compare").click()
    alice.page.wait_for_url("**/compare/**")
    assert alice.plotted(PLACE)["x"].keys() == set(uids)
    told = [row.split() for row in alice.page.locator(".differing tbody tr").all_inner_texts()]
    assert told == [["sample", "S0", "S1"], ["stop.num_events.primary", "31", "41"]]
    alice.open(f"/runs/?uid={uids[0]}")
    alice.page.get_by_role("button", name="Untick all").click()
    expect(alice.page.locator(".picked-bar")).to_be_hidden()


def test_one_run_alone_is_not_compared(visit: Visit, record: Record) -> None:
    alice = visit("alice")
    alice.open(f"/runs/?uid={two_scans(record)[0]}")
    alice.page.get_by_role("checkbox", name="Tick scan #9000").check()
    expect(alice.page.locator(".picked-bar")).to_contain_text("tick one more to compare")
    assert alice.page.locator(".picked-bar a[href]").count() == 0


def test_an_overlay_draws_the_points_of_each_run(visit: Visit, record: Record) -> None:
    uids = two_scans(record)
    alice = compare(visit, uids)
    drawn = alice.plotted(PLACE)
    for uid, table in zip(uids, columns(alice, uids), strict=True):
        assert drawn["x"][uid] == table["sx"].tolist()
        assert drawn["series"][uid] == table["det"].tolist()
    assert alice.page.locator(f"{PLACE} .peaks tbody tr").count() == 2


def test_a_waterfall_lifts_each_curve_above_the_last(visit: Visit, record: Record) -> None:
    uids = two_scans(record)
    alice = compare(visit, uids, "&mode=waterfall&offset=0.5")
    drawn = alice.plotted(PLACE)
    tables = columns(alice, uids)
    step = 0.5 * max(np.ptp(table["det"]) for table in tables)
    for n, (uid, table) in enumerate(zip(uids, tables, strict=True)):
        assert values(drawn, uid) == pytest.approx(table["det"] + n * step)


def test_a_difference_is_to_the_first_at_the_same_x(visit: Visit, record: Record) -> None:
    uids = two_scans(record)
    alice = compare(visit, uids)
    alice.plotted(PLACE)
    alice.page.locator(PLACE).get_by_role("combobox", name="As").select_option("difference")
    first, second = columns(alice, uids)
    drawn = alice.plotted(PLACE)
    assert list(drawn["series"]) == [uids[1]]
    base = np.interp(second["sx"], first["sx"], first["det"], left=np.nan, right=np.nan)
    found = values(drawn, uids[1])
    assert found == pytest.approx(second["det"] - base, nan_ok=True)
    assert np.isnan(found).any()
    assert np.isfinite(found).any()


@pytest.mark.parametrize("norm", ["max", "range", "first"])
def test_curves_are_normalised(visit: Visit, record: Record, norm: str) -> None:
    uids = two_scans(record)
    alice = compare(visit, uids, f"&norm={norm}")
    drawn = alice.plotted(PLACE)
    for uid, table in zip(uids, columns(alice, uids), strict=True):
        det = table["det"]
        expected = {
            "max": det / det.max(),
            "range": (det - det.min()) / np.ptp(det),
            "first": det / det[0],
        }[norm]
        assert values(drawn, uid) == pytest.approx(expected)


def test_an_expression_is_drawn_of_each_run_and_is_in_the_link(
    visit: Visit, record: Record
) -> None:
    uids = two_scans(record)
    alice = compare(visit, uids)
    alice.plotted(PLACE)
    field = alice.page.locator(PLACE).get_by_label("Expression")
    field.fill("det / nothing")
    field.press("Enter")
    expect(alice.page.locator(f"{PLACE} [role=alert]")).to_contain_text("no number “nothing”")
    field.fill("log(det / mon)")
    field.press("Enter")
    alice.page.wait_for_url("**expr=**")
    other = visit("alice")
    other.open(alice.page.url.removeprefix(alice.site))
    drawn = other.plotted(PLACE)
    for uid, table in zip(uids, columns(alice, uids), strict=True):
        assert values(drawn, uid) == pytest.approx(np.log(table["det"] / table["mon"]))
    other.page.get_by_role("link", name="Leave out scan #9001").click()
    other.page.wait_for_url("**/compare/**")
    assert "expr=log" in other.page.url
    assert list(other.plotted(PLACE)["series"]) == [uids[0]]
    alice.page.go_back()
    assert values(alice.plotted(PLACE), uids[0]) == pytest.approx(columns(alice, uids)[0]["det"])


def test_a_run_that_lacks_the_signal_is_said_to(visit: Visit, record: Record) -> None:
    uids = two_scans(record)
    uids.append(record(scan([{"other": 1.0, "sx": 2.0}], [["sx"]], scan_id=9002)))
    alice = compare(visit, uids)
    assert list(alice.plotted(PLACE)["series"]) == uids[:2]
    expect(alice.page.locator(PLACE)).to_contain_text("Run #9002 has no det.")


def test_maps_are_side_by_side(visit: Visit, record: Record) -> None:
    uids = []
    for n in range(2):
        places = grid([0.0, 1.0, 2.0], [0.0, 0.5])
        points = [{"det": 10.0 * n + i, "sy": y, "sx": x} for i, (y, x) in enumerate(places)]
        uids.append(record(scan(points, [["sy"], ["sx"]], shape=[3, 2], scan_id=9100 + n)))
    alice = compare(visit, uids)
    for n, uid in enumerate(uids):
        drawn = alice.plotted(f"[data-map='{uid}']")
        assert (drawn["height"], drawn["width"]) == (3, 2)
        assert drawn["values"] == [10.0 * n + i for i in range(6)]


def test_a_stranger_sees_only_what_is_public_and_comes_back_after_signing_in(
    visit: Visit, record: Record
) -> None:
    """ABUSE 6, for a link that is shared."""
    hidden = two_scans(record)[0]
    nobody = visit(None)
    nobody.open(f"/compare/?run={CSX['public']}&run={hidden}&x=time")
    expect(nobody.page.get_by_role("heading", level=1)).to_have_text("Compare 1 run")
    expect(nobody.page.locator(".note")).to_contain_text("1 of the runs in this link is not here")
    assert "9000" not in nobody.page.content()
    response = nobody.page.request.get(f"{nobody.site}/runs/{hidden}/?scale=log")
    assert response.status == 404
    nobody.page.on("response", lambda _: nobody.errors.clear())  # the browser reports the 404
    nobody.page.goto(f"{nobody.site}/runs/{hidden}/?scale=log")
    nobody.page.get_by_role("link", name="Sign in and come back here").click()
    nobody.page.locator("input[name=login], input[name=username]").fill("alice")
    nobody.page.locator("input[name=password]").fill("alice-demo-2026")
    nobody.page.locator("input[name=password]").press("Enter")
    nobody.page.wait_for_url(f"**/runs/{hidden}/?scale=log")
    expect(nobody.page.locator("h1")).to_have_text("scan #9000")


def test_sharing_gives_the_lasting_link_its_code_and_who_can_open_it(visit: Visit) -> None:
    person = visit(None)
    person.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    person.open("/runs/csx/148218/?scale=log")
    assert person.page.url == f"{person.site}/runs/{CSX['public']}/?scale=log"
    person.page.get_by_role("button", name="Share").click()
    dialog = person.page.get_by_role("dialog")
    expect(dialog).to_contain_text("everybody, without signing in")
    expect(dialog.get_by_role("img", name="QR code of the link")).to_be_visible()
    dialog.get_by_role("button", name="Copy link").click()
    expect(dialog.get_by_role("status")).to_have_text("Copied")
    assert person.page.evaluate("navigator.clipboard.readText()") == person.page.url
    assert violations(person) == []
    keep_picture(person, "share")
    person.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": DESK},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": PHONE, "has_touch": True, "is_mobile": True},
}


@pytest.mark.parametrize("style", LOOKS)
def test_the_page_to_compare_is_accessible_and_fits(
    visit: Visit, record: Record, style: str
) -> None:
    """Hostile metadata included, which stays text (ABUSE 23)."""
    uids = [*two_scans(record), CSX["hostile"]]
    alice = compare(visit, uids, "&mode=waterfall", **LOOKS[style])
    alice.page.on("dialog", lambda dialog: alice.errors.append(f"dialog: {dialog.message}"))
    alice.plotted(PLACE)
    keep_picture(alice, f"compare-{style}")
    assert violations(alice) == []
    screen = alice.page.viewport_size
    assert screen is not None
    assert alice.page.evaluate("document.documentElement.scrollWidth") <= screen["width"]
    assert "<script>alert(1)</script>" in alice.page.locator("main").inner_text()
    assert alice.page.locator("main script:not([type='application/json'])").count() == 0
