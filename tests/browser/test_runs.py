"""The list of runs: filters, facets, pages, and what different people find there."""

import csv
import io
import re
import shlex
import zipfile

import pytest
from playwright.sync_api import expect

from demo.load import manifest
from tests.browser.conftest import Visit

ROWS = ".runs tbody tr[data-uid]"


def test_a_visitor_finds_public_runs_and_a_member_their_own(visit: Visit) -> None:
    public = visit(None)
    public.open("/")
    assert public.page.url.endswith("/runs/")
    seen = public.page.locator(".runs td.c-proposal").all_inner_texts()
    assert set(seen) == {"312000"}
    alice = visit("alice")
    alice.open("/runs/")
    seen = alice.page.locator(".runs td.c-proposal").all_inner_texts()
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
    alice.page.get_by_text("Exact filters").click()
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
        samples = set(dan.page.locator(".runs td.c-sample").all_inner_texts())
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
        ("scan_id=abc", "A valid integer is required."),
        ("since=yesterday", "'yesterday' is not a time"),
        ('query={"$where": "1"}', "$where"),
        ("no_such_thing=1", "is unknown"),
        ("find=status:good", "status:good: use success, fail, abort or open."),
    ],
)
def test_a_wrong_filter_is_explained_at_its_field_while_the_list_stays(
    query: str, told: str, visit: Visit
) -> None:
    alice = visit("alice")
    alice.open(f"/runs/?{query}&plan_name=grid_scan")
    expect(alice.page.locator("#filter-errors [role=alert]")).to_contain_text(told)
    name = query.partition("=")[0]
    field = alice.page.locator(f"[name={name}]:not([type=hidden])")
    if name != "no_such_thing":
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_be_visible()
    titles = alice.page.locator(".runs a.what").all_inner_texts()
    assert titles
    assert all("grid_scan" in title for title in titles)
    assert len(alice.errors) == 1
    assert "400" in alice.errors.pop()


def test_what_is_typed_finds_runs_and_becomes_a_filter_to_take_away(visit: Visit) -> None:
    alice = visit("alice")
    alice.open("/runs/")
    alice.page.get_by_label("Find runs").press_sequentially("GRID sample:fegd")
    alice.page.wait_for_url(re.compile(r"find=GRID\+sample"))
    expected = alice.api("/api/v1/headers/?find=GRID&find=sample:fegd")["results"]
    expect(alice.page.locator(ROWS)).to_have_count(len(expected))
    alice.page.keyboard.press("Enter")
    filters = alice.page.get_by_role("list", name="Filters in force")
    expect(filters.get_by_role("listitem")).to_have_text(
        [re.compile("GRID"), re.compile("sample:fegd"), "Clear all"]
    )
    assert alice.page.get_by_label("Find runs").input_value() == ""
    filters.get_by_role("link", name="sample:fegd").click()
    more = alice.api("/api/v1/headers/?find=GRID")["results"]
    expect(alice.page.locator(ROWS)).to_have_count(len(more))
    assert alice.page.url.endswith("/runs/?find=GRID")


def test_nothing_found_says_without_which_filter_there_are_how_many(visit: Visit) -> None:
    alice = visit("alice")
    alice.open("/runs/?find=grid&find=plan:count&exit_status=success")
    count = alice.api("/api/v1/headers/count/?find=plan:count&exit_status=success")["count"]
    assert count
    line = alice.page.locator(".without li", has_text="grid")
    expect(line).to_contain_text(f"there are {count} runs")
    line.get_by_role("link").click()
    expect(alice.page.locator(ROWS)).to_have_count(count)


def test_bars_over_time_count_runs_and_filter_by_keyboard_and_by_pointer(visit: Visit) -> None:
    alice = visit("alice")
    alice.open("/runs/?proposal=310000")
    bars = alice.page.locator(".bars a")
    expect(bars.first).to_be_attached()
    total = alice.api("/api/v1/headers/count/?proposal=310000")["count"]
    expect(alice.page.locator(".totals strong")).to_have_text(str(total))
    labels = bars.evaluate_all("all => all.map(bar => bar.getAttribute('aria-label'))")
    counts = [int(label.split(": ")[1].split()[0]) for label in labels]
    assert sum(counts) == total
    spans = bars.evaluate_all("all => all.map(bar => [bar.dataset.since, bar.dataset.until])")
    for (since, until), count in zip(spans, counts, strict=True):
        query = f"proposal=310000&since={since}&until={until}"
        assert alice.api(f"/api/v1/headers/count/?{query}")["count"] == count
    bars.last.focus()
    alice.page.keyboard.press("Shift+ArrowLeft")
    alice.page.keyboard.press("Enter")
    alice.page.wait_for_url(lambda url: f"since={spans[-2][0]}" in url and spans[-1][1] in url)
    expect(alice.page.locator(ROWS)).to_have_count(sum(counts[-2:]))
    alice.page.go_back()
    box = alice.page.locator(".bars").bounding_box()
    assert box is not None
    alice.page.mouse.move(box["x"] + 2, box["y"] + 20)
    alice.page.mouse.down()
    alice.page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 20)
    alice.page.mouse.up()
    alice.page.wait_for_url(lambda url: f"since={spans[0][0]}" in url and spans[-1][1] in url)
    expect(alice.page.locator(ROWS)).to_have_count(total)


def test_a_value_of_a_facet_stands_there_once_and_leads_to_as_many_runs(visit: Visit) -> None:
    dan = visit("dan")
    dan.open("/runs/")
    samples = dan.page.locator(".facet", has=dan.page.get_by_role("heading", name="Sample"))
    expect(samples).to_be_visible()
    counted = [text.split("\n") for text in samples.locator("a").all_inner_texts()]
    assert len({name for name, _ in counted}) == len(counted)
    for name, count in counted[:3]:
        dan.open("/runs/")
        samples.get_by_role("link", name=f"{name} {count}", exact=True).click()
        expect(dan.page.locator(ROWS)).to_have_count(int(count))


def test_an_empty_list_says_what_to_do(visit: Visit) -> None:
    alice = visit("alice")
    alice.open("/runs/?plan_name=no_such_plan")
    expect(alice.page.get_by_role("heading", name="No runs here")).to_be_visible()
    alice.page.get_by_role("link", name="Clear the filters").click()
    expect(alice.page.locator(ROWS).first).to_be_visible()


def test_pictures_come_when_they_are_seen_and_stay_within_the_access_rule(visit: Visit) -> None:
    alice = visit("alice")
    alice.requests.clear()
    alice.open("/runs/")
    images = alice.page.locator(".thumb img")
    expect(images.first).to_have_js_property("naturalWidth", 144)
    asked = [r.url for r in alice.requests if r.url.endswith("/thumbnail/")]
    assert 0 < len(asked) < images.count()
    assert len(set(asked)) == len(asked)
    images.last.scroll_into_view_if_needed()
    expect(images.last).to_have_js_property("naturalWidth", 144)
    hidden = visit(None).page.request.get(asked[0])
    own = alice.page.request.get(asked[0])
    public = {run["uid"] for run in visit(None).api("/api/v1/headers/?page_size=200")["results"]}
    assert own.status == 200
    assert hidden.status == (200 if asked[0].split("/")[-3] in public else 404)


def test_the_list_is_walked_and_previewed_by_keys(visit: Visit) -> None:
    alice = visit("alice")
    alice.open("/runs/")
    uids = alice.page.locator(ROWS).evaluate_all("all => all.map(row => row.dataset.uid)")
    chosen = alice.page.locator(".runs tr.selected")
    for key, expected in (("j", 0), ("j", 1), ("j", 2), ("k", 1)):
        alice.page.keyboard.press(key)
        expect(chosen).to_have_attribute("data-uid", uids[expected])
    alice.page.keyboard.press("p")
    pane = alice.page.get_by_role("complementary", name="Preview")
    run = alice.api(f"/api/v1/headers/{uids[1]}/")
    expect(pane).to_contain_text(f"{run['start']['plan_name']} #{run['start']['scan_id']}")
    for stream in run["streams"]:
        expect(pane).to_contain_text(f"{stream['event_count']:,} event")
    alice.page.keyboard.press("j")
    expect(pane.get_by_role("link", name="Open the run")).to_have_attribute(
        "href", f"/runs/{uids[2]}/"
    )
    alice.page.keyboard.press("p")
    expect(pane).to_be_hidden()
    alice.page.keyboard.press("?")
    expect(alice.page.get_by_role("dialog")).to_contain_text("next, previous run")
    alice.page.keyboard.press("Escape")
    alice.page.keyboard.press("/")
    alice.page.keyboard.type("jkp?")
    assert alice.page.get_by_label("Find runs").input_value() == "jkp?"
    expect(alice.page.get_by_role("dialog")).to_be_hidden()


def test_columns_are_picked_and_remembered(visit: Visit) -> None:
    alice = visit("alice")
    alice.open("/runs/")
    alice.page.get_by_text("Columns", exact=True).click()
    alice.page.get_by_label("Catalog").last.uncheck()
    alice.page.reload()
    expect(alice.page.locator(".runs td.c-catalog").first).to_be_hidden()
    expect(alice.page.locator(".runs td.c-proposal").first).to_be_visible()


def test_days_and_totals_are_those_of_the_api(visit: Visit) -> None:
    alice = visit("alice")
    alice.open("/runs/?exit_status=success&page_size=10")
    rows = alice.page.locator(ROWS)
    runs = alice.api("/api/v1/headers/?exit_status=success&page_size=200")["results"]
    expect(alice.page.locator(".totals")).to_contain_text(f"10 shown of {len(runs)} runs")
    events = sum(sum(run["stop"]["num_events"].values()) for run in runs)
    expect(alice.page.locator(".totals")).to_contain_text(f"{events:,} events")
    assert rows.count() == 10
    days = alice.page.locator(".runs tbody").evaluate_all(
        "all => all.map(day => [...day.querySelectorAll('time')].map(t => t.dateTime.slice(0, 10)))"
    )
    assert all(len(set(day)) == 1 for day in days)
    assert [day[0] for day in days] == sorted({day[0] for day in days}, reverse=True)


def test_listed_and_ticked_runs_are_downloaded_as_one_zip(visit: Visit) -> None:
    alice = visit("alice")
    alice.open("/runs/?find=grid_scan&exit_status=success")
    alice.page.get_by_text("Download or script these runs").click()
    box = alice.page.locator("#archive")
    size = alice.api("/api/v1/headers/archive/size/?find=grid_scan&exit_status=success&files=h5")
    expect(box.locator("[data-told]")).to_contain_text(
        f"{size['runs']} runs, {size['events']:,} events, about"
    )
    boxes = alice.page.locator("#results input.pick")
    uids = [boxes.nth(n).get_attribute("value") for n in (0, 2)]
    for n in (0, 2):
        boxes.nth(n).check()
    expect(box.locator("[data-told]")).to_contain_text("ticked: 2 runs")
    box.get_by_label("documents").check()
    box.get_by_label("HDF5").uncheck()
    with alice.page.expect_download() as download:
        box.get_by_role("button", name="Download").click()
    with zipfile.ZipFile(download.value.path()) as found:
        rows = list(csv.DictReader(io.StringIO(found.read("runs.csv").decode())))
        assert [row["uid"] for row in rows] == uids
        assert all(row["included"] == "documents.ndjson" for row in rows)
        assert found.testzip() is None


def test_the_scripts_find_the_same_runs(visit: Visit) -> None:
    alice = visit("alice")
    alice.open("/runs/?find=grid&find=sample:%22FeGd-0412%22&exit_status=success")
    shown = alice.page.locator(ROWS).evaluate_all("all => all.map(row => row.dataset.uid)")
    alice.page.get_by_text("Download or script these runs").click()
    python, curl = alice.page.locator("#archive pre").all_inner_texts()
    address = shlex.split(curl.replace("\\\n", " "))[-1]
    assert [run["uid"] for run in alice.api(address.removeprefix(alice.site))["results"]] == shown
    assert """db.search(find='grid sample:"FeGd-0412"', exit_status='success')""" in python
    compile(python, "snippet", "exec")


def test_one_can_skip_to_the_results(visit: Visit) -> None:
    anybody = visit(None)
    anybody.open("/runs/")
    anybody.page.locator("#content").focus()
    anybody.page.keyboard.press("Tab")
    skip = anybody.page.get_by_role("link", name="Skip to results")
    expect(skip).to_be_focused()
    anybody.page.keyboard.press("Enter")
    assert anybody.page.evaluate("document.activeElement.id") == "results"


def test_the_list_works_without_scripts(visit: Visit) -> None:
    anybody = visit(None, java_script_enabled=False)
    anybody.open("/runs/")
    anybody.page.get_by_text("Exact filters").click()
    anybody.page.get_by_label("Plan").fill("grid_scan")
    anybody.page.get_by_role("button", name="Filter", exact=True).click()
    titles = anybody.page.locator(".runs a.what").all_inner_texts()
    assert titles
    assert all("grid_scan" in title for title in titles)
    anybody.page.get_by_label("Find runs").fill("status:failed 1-9")
    anybody.page.get_by_role("button", name="Find", exact=True).click()
    expect(anybody.page.get_by_role("heading", name="No runs here")).to_be_visible()
    anybody.page.get_by_role("link", name="1-9").click()
    assert "find=status" in anybody.page.url
    assert "1-9" not in anybody.page.url
