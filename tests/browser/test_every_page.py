"""What holds for every page: accessible, quiet, small; and pictures of each to look at."""

from typing import Any

import pytest

from demo.load import manifest
from tests.browser.conftest import PHONE, ROOT, Visit, Visitor

CSX = manifest()["csx"]
FRAMES = 'query={"purpose":"speckle while warming up"}'
MAPS = "plan_name=grid_scan&exit_status=success"
# name → who looks, at which path ({} stands for the newest run of the filter), which filter
PAGES: dict[str, tuple[str | None, str, str]] = {
    "runs": ("alice", "/runs/", ""),
    "runs-public": (None, "/runs/", ""),
    "runs-empty": ("alice", "/runs/?plan_name=none", ""),
    "runs-filtered": ("alice", "/runs/?find=scan&find=sample:fe&exit_status=success", ""),
    "scan": (None, f"/runs/{CSX['public']}/", ""),
    "map": ("alice", "/runs/{}/", MAPS),
    "frames": ("alice", "/runs/{}/", f"catalog=csx&{FRAMES}"),
    "open": ("alice", f"/runs/{CSX['open']}/", ""),
    "failed": ("alice", f"/runs/{CSX['failed']}/", ""),
    "hostile": ("alice", f"/runs/{CSX['hostile']}/", ""),
    "compare": ("alice", f"/compare/?run={CSX['public']}&run={CSX['hostile']}", ""),
    "newest": ("alice", "/beamlines/csx/live/", ""),
    "account": ("alice", "/account/", ""),
    "login": (None, "/login/", ""),
    "device": ("alice", "/device/", ""),
    "api-list": ("alice", "/api/v1/headers/?page_size=5", ""),
    "api-run": ("alice", f"/api/v1/headers/{CSX['open']}/", ""),
    "docs": ("alice", "/api/docs/", ""),
    "help": (None, "/help/", ""),
    "admin": ("dan", "/admin/", ""),
    "admin-desk": ("sue", f"/admin/access/?person=alice&proposal=310000&run={CSX['open']}", ""),
    "admin-audit": ("dan", "/admin/policies/auditevent/", ""),
    "admin-proposals": ("dan", "/admin/policies/proposal/", ""),
    "admin-runs": ("dan", "/admin/headers/", ""),
}
SHOTS = ROOT / "var" / "screenshots"
# What is not ours is left out: Swagger UI, and that Django's admin marks links by colour alone,
# names the filter of an empty value with nothing and its search with a picture.
RUN_AXE = """isAdmin => axe.run(
  {exclude: ['#swagger-ui', '#changelist-filter a[href$="="]', '#searchbar']},
  {rules: {'link-in-text-block': {enabled: !isAdmin}}},
)"""
BUDGETS = {
    "docs": (12, 600_000),
    # The run that is taken meanwhile brings its descriptors and events one after the other.
    "newest": (24, 400_000),
    "frames": (28, 1_210_000),
    # The scripts of a run come in parts, which pages share; they are compressed.
    **dict.fromkeys(("scan", "map", "open", "failed", "hostile"), (26, 250_000)),
    # With the pictures of the runs that are seen.
    **dict.fromkeys(("runs", "runs-public", "runs-filtered", "runs-empty"), (40, 600_000)),
    # Django's admin brings its own many small files.
    **dict.fromkeys((name for name in PAGES if name.startswith("admin")), (30, 500_000)),
}
"""page → most requests, most bytes, as sent; frames of 512 × 512 × 16 bit weigh 0.5 MB"""
USUAL_BUDGET = (16, 400_000)


def look(visit: Visit, name: str, **options: Any) -> Visitor:
    who, path, filters = PAGES[name]
    person = visit(who, **options)
    if "{}" in path:
        runs = person.api(f"/api/v1/headers/?page_size=1&{filters}")["results"]
        path = path.format(runs[0]["uid"])
    person.requests.clear()
    person.open(path)
    return person


LOOKS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": PHONE, "has_touch": True, "is_mobile": True},
}


@pytest.mark.parametrize("style", LOOKS)
@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_accessible_small_and_fits_the_screen(
    name: str, style: str, visit: Visit
) -> None:
    person = look(visit, name, **LOOKS[style])
    # A stream of events has no end, and no size.
    whole = [request for request in person.requests if request.resource_type != "eventsource"]
    weights = [request.sizes()["responseBodySize"] for request in whole]
    draw_all(person)
    keep_picture(person, f"{name}-{style}")
    assert violations(person) == []
    assert_within_budget(name, weights)
    # A phone's browser would zoom out to fit what is too wide, innerWidth with it.
    # The admin's wide tables are for a desk: there the page scrolls.
    screen = person.page.viewport_size
    assert screen is not None
    width = person.page.evaluate("document.documentElement.scrollWidth")
    assert width <= screen["width"] or name.startswith("admin")


def draw_all(person: Visitor) -> None:
    for place in person.page.locator("[data-plot], [data-viewer], [data-compare]").all():
        place.scroll_into_view_if_needed()
        person.page.wait_for_load_state("networkidle")
    person.page.evaluate("scrollTo(0, 0)")


def keep_picture(person: Visitor, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    person.page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def violations(person: Visitor) -> list[str]:
    """What axe-core finds wrong with the page as it is now."""
    person.page.evaluate((ROOT / "node_modules/axe-core/axe.min.js").read_text())
    found = person.page.evaluate(RUN_AXE, "/admin/" in person.page.url)
    return [
        f"{violation['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


def assert_within_budget(name: str, weights: list[int]) -> None:
    most_requests, most_bytes = BUDGETS.get(name, USUAL_BUDGET)
    assert len(weights) <= most_requests
    assert sum(weights) <= most_bytes


def test_the_theme_can_be_chosen_and_is_kept(visit: Visit) -> None:
    person = visit(None)
    person.open("/runs/")
    background = "getComputedStyle(document.body).backgroundColor"
    light = person.page.evaluate(background)
    person.page.get_by_role("button", name="Switch to the dark theme").click()
    dark = person.page.evaluate(background)
    assert dark != light
    person.page.reload()
    assert person.page.evaluate(background) == dark


def test_the_list_can_be_walked_with_the_keyboard(visit: Visit) -> None:
    person = visit(None)
    person.open("/runs/")
    person.page.keyboard.press("Tab")
    assert person.page.evaluate("document.activeElement.textContent") == "Skip to content"
    person.page.keyboard.press("Enter")
    assert person.page.evaluate("document.activeElement.id") == "content"
    person.page.get_by_label("Find runs").focus()
    person.page.keyboard.type("scan")
    person.page.keyboard.press("Enter")
    person.page.wait_for_load_state("networkidle")
    person.page.locator(".runs a.what").first.focus()
    person.page.keyboard.press("Enter")
    person.page.wait_for_url("**/runs/*-*/")
