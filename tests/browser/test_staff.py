"""What staff decide in the admin holds for people's pages and programs at once."""

from urllib.parse import urlencode

import pytest

from demo.load import manifest
from tests.browser.conftest import Visit, Visitor
from tests.browser.test_run import newest

PROPOSAL = "310002"


def set_end_of_membership(staff: Visitor, person: str, date: str, time: str) -> None:
    staff.open(f"/admin/policies/proposal/?{urlencode({'q': PROPOSAL})}")
    staff.page.locator("#result_list").get_by_role("link", name=PROPOSAL).click()
    row = staff.page.locator("tr.has_original", has_text=person)
    row.locator("input[name$=expires_0]").fill(date)
    row.locator("input[name$=expires_1]").fill(time)
    staff.page.get_by_role("button", name="Save", exact=True).click()
    staff.page.locator(".messagelist .success").wait_for()


def test_when_staff_end_a_membership_the_run_is_gone_for_that_person(visit: Visit) -> None:
    alice, dan = visit("alice"), visit("dan")
    uid = newest(alice, proposal=PROPOSAL)
    page, route = f"{alice.site}/runs/{uid}/", f"{alice.site}/api/v1/headers/{uid}/"
    alice.open(f"/runs/{uid}/")
    set_end_of_membership(dan, "alice", "2026-01-01", "00:00:00")
    try:
        assert alice.page.request.get(page).status == 404
        assert alice.page.request.get(route).status == 404
        alice.open(f"/runs/?proposal={PROPOSAL}")
        assert alice.page.locator(".runs").count() == 0
        alice.open("/account/")
        row = alice.page.get_by_role("row").filter(has_text=PROPOSAL)
        assert "ended" in row.inner_text()
    finally:
        set_end_of_membership(dan, "alice", "", "")
    assert alice.page.request.get(page).status == 200


LAPTOP = {"width": 1366, "height": 768}


@pytest.mark.parametrize("table", ["auditevent", "proposal"])
def test_the_widest_tables_fit_a_laptop(table: str, visit: Visit) -> None:
    dan = visit("dan", viewport=LAPTOP)
    dan.open(f"/admin/policies/{table}/")
    cut = dan.page.locator("#result_list").evaluate(
        "table => table.scrollWidth - table.closest('.results').clientWidth"
    )
    assert cut <= 0


def test_staff_go_from_a_run_to_who_can_read_it_and_grant_it(visit: Visit) -> None:
    dan, uid = visit("dan"), manifest()["csx"]["open"]
    dan.open(f"/runs/{uid}/")
    dan.page.get_by_role("link", name="Who can read it").click()
    dan.page.get_by_role("link", name="310000").first.click()
    dan.page.get_by_label("User name").fill("bob")
    dan.page.get_by_label("Reason").fill("to look at")
    dan.page.get_by_role("button", name="Show what becomes readable").click()
    count = dan.api("/api/v1/headers/count/?proposal=310000")["count"]
    assert f"bob would gain {count} runs" in dan.page.locator(".desk-preview").inner_text()
    assert dan.page.get_by_role("button", name="Save").count() == 1
