"""The list of runs: filters, facets, pages, and what different people find there."""

import re

import pytest
from playwright.sync_api import expect

from demo.load import manifest
from tests.browser.conftest import Visit

ROWS = ".runs tbody tr"


def test_a_visitor_finds_public_runs_and_a_member_their_own(visit: Visit) -> None:
    public = visit(None)
    public.open("/")
    assert public.page.url.endswith("/runs/")
    seen = public.page.locator(".runs td:nth-child(4)").all_inner_texts()
    assert set(seen) == {"312000"}
    alice = visit("alice")
    alice.open("/runs/")
    seen = alice.page.locator(".runs td:nth-child(4)").all_inner_texts()
    assert set(seen) == {"310000", "310002", "312000"}


def test_the_list_is_the_api_list(visit: Visit) -> None:
    alice = visit("alice")
    alice.open("/runs/")
    links = alice.page.locator(".runs a.what").evaluate_all("all => all.map(a => a.pathname)")
    runs = alice.api("/api/v1/headers/?page_size=50")["results"]
    assert links == [f"/runs/{run['uid']}/" for run in runs]


def test_filters_apply_while_typing_and_are_in_the_address(visit: Visit) -> None:
    alice = visit("alice")
    alice.open("/runs/")
    alice.page.get_by_label("Plan").press_sequentially("grid_scan")
    alice.page.wait_for_url(re.compile(r"/runs/\?plan_name=grid_scan$"))
    titles = alice.page.locator(".runs a.what")
    expect(titles.first).to_contain_text("grid_scan")
    assert all("grid_scan" in title for title in titles.all_inner_texts())
    expect(alice.page.locator("#told")).to_have_text(f"{titles.count()} runs on this page")
    alice.page.reload()
    assert alice.page.get_by_label("Plan").input_value() == "grid_scan"
    expect(titles.first).to_contain_text("grid_scan")


def test_a_sample_is_found_by_its_text_and_by_its_name(visit: Visit) -> None:
    dan = visit("dan")
    for sample in ("Si grating", "FeGd-0413"):
        dan.open(f"/runs/?sample={sample}")
        samples = set(dan.page.locator(".runs td:nth-child(3)").all_inner_texts())
        assert samples & {sample}
        assert samples <= {sample, "none"}


def test_facets_count_what_the_filters_leave(visit: Visit) -> None:
    alice = visit("alice")
    alice.open("/runs/?proposal=310000")
    plans = alice.page.locator(".facet", has=alice.page.get_by_role("heading", name="Plan"))
    expect(plans).to_be_visible()
    counted = dict(text.split("\n") for text in plans.locator("a").all_inner_texts())
    api = alice.api("/api/v1/headers/facets/?proposal=310000&fields=plan_name")["plan_name"]
    assert counted == {item["value"]: str(item["count"]) for item in api}
    plans.get_by_role("link", name="grid_scan").click()
    alice.page.wait_for_url(re.compile("plan_name=grid_scan"))
    expect(alice.page.locator(ROWS)).to_have_count(int(counted["grid_scan"]))


def test_older_and_newer_walk_through_all_runs(visit: Visit) -> None:
    alice = visit("alice")
    alice.open("/runs/?page_size=15")
    links = "all => all.map(a => a.pathname)"
    first = alice.page.locator(".runs a.what").evaluate_all(links)
    walked = list(first)
    while (older := alice.page.get_by_role("link", name="Older →")).count():
        older.click()
        alice.page.wait_for_load_state("networkidle")
        walked += alice.page.locator(".runs a.what").evaluate_all(links)
    count = alice.api("/api/v1/headers/count/")["count"]
    assert len(walked) == len(set(walked)) == count
    while (newer := alice.page.get_by_role("link", name="← Newer")).count():
        newer.click()
        alice.page.wait_for_load_state("networkidle")
    assert alice.page.locator(".runs a.what").evaluate_all(links) == first


def test_open_and_failed_runs_are_marked(visit: Visit) -> None:
    alice = visit("alice")
    alice.open("/runs/")
    for name, status in (("open", "open"), ("failed", "failed")):
        uid = manifest()["csx"][name]
        row = alice.page.locator(ROWS, has=alice.page.locator(f"a[href='/runs/{uid}/']"))
        expect(row.locator(".chip")).to_have_text(status)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("scan_id=abc", "scan_id: A valid integer is required."),
        ("since=yesterday", "since: 'yesterday' is not a time"),
        ('query={"$where": "1"}', "query:"),
        ("no_such_thing=1", "is unknown"),
    ],
)
def test_a_wrong_filter_is_explained_beside_the_filters(
    query: str, told: str, visit: Visit
) -> None:
    alice = visit("alice")
    alice.open(f"/runs/?{query}")
    expect(alice.page.get_by_role("alert")).to_contain_text(told)
    expect(alice.page.get_by_role("button", name="Filter", exact=True)).to_be_visible()
    assert len(alice.errors) == 1
    assert "400" in alice.errors.pop()


def test_an_empty_list_says_what_to_do(visit: Visit) -> None:
    alice = visit("alice")
    alice.open("/runs/?plan_name=no_such_plan")
    expect(alice.page.get_by_role("heading", name="No runs here")).to_be_visible()
    alice.page.get_by_role("link", name="Clear the filters").click()
    expect(alice.page.locator(ROWS).first).to_be_visible()


def test_the_list_works_without_scripts(visit: Visit) -> None:
    anybody = visit(None, java_script_enabled=False)
    anybody.open("/runs/")
    anybody.page.get_by_label("Plan").fill("grid_scan")
    anybody.page.get_by_role("button", name="Filter", exact=True).click()
    titles = anybody.page.locator(".runs a.what").all_inner_texts()
    assert titles
    assert all("grid_scan" in title for title in titles)
