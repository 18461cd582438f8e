"""The account page: what I may read and why, tokens, and how it follows what staff decide."""

from playwright.sync_api import expect

from demo.load import manifest
from tests.browser.conftest import Visit, Visitor

TOKENS = "/api/v1/auth/api-tokens/"


def status_with(person: Visitor, token: str, path: str) -> int:
    """What a program with this token, and without the browser's cookie, is answered."""
    browser = person.page.context.browser
    assert browser is not None
    program = browser.new_context()
    answer = program.request.get(person.site + path, headers={"Authorization": f"Bearer {token}"})
    program.close()
    return answer.status


def test_the_page_tells_what_one_may_read_and_why(visit: Visit) -> None:
    alice = visit("alice")
    alice.open("/account/")
    rows = alice.page.get_by_role("region", name="What you may read").get_by_role("row")
    texts = " ".join(rows.all_inner_texts())
    for proposal, reason in (
        ("310000", "principal investigator"),
        ("310002", "member"),
        ("308777", "locked"),
        ("312000", "public"),
    ):
        row = rows.filter(has=alice.page.get_by_role("link", name=proposal))
        expect(row).to_contain_text(reason)
    assert "310001" not in texts
    sue = visit("sue")
    sue.open("/account/")
    row = sue.page.get_by_role("row").filter(has_text="CSX 23-ID-1")
    expect(row).to_contain_text("staff of the beamline")


def test_a_token_is_made_used_and_revoked(visit: Visit) -> None:
    alice = visit("alice")
    alice.open("/account/")
    alice.page.get_by_text("New token").click()
    alice.page.get_by_label("Name").fill("notebook of the test")
    alice.page.get_by_label("read data").uncheck()
    alice.page.get_by_label("Only these proposals").fill("310000")
    alice.page.get_by_role("button", name="Make the token").click()
    shown = alice.page.get_by_label("The new token")
    expect(shown).to_contain_text("dbk_")
    token = shown.inner_text().strip()
    run = f"/api/v1/headers/{manifest()['csx']['open']}/"
    outside = f"/api/v1/headers/{manifest()['csx']['public']}/"
    assert status_with(alice, token, run) == 200
    assert status_with(alice, token, outside) == 404
    assert status_with(alice, token, f"{run}documents/?format=ndjson") == 403
    alice.page.reload()
    expect(alice.page.get_by_label("The new token")).to_be_hidden()
    alice.page.get_by_role("button", name="Revoke notebook of the test").click()
    row = alice.page.get_by_role("row").filter(has_text="notebook of the test")
    expect(row).to_have_count(0)
    assert status_with(alice, token, run) == 401


def test_asking_for_more_than_one_has_is_explained(visit: Visit) -> None:
    alice = visit("alice")
    alice.open("/account/")
    alice.page.get_by_text("New token").click()
    alice.page.get_by_label("Name").fill("too much")
    alice.page.get_by_label("Only these proposals").fill("310001")
    alice.page.get_by_role("button", name="Make the token").click()
    expect(alice.page.get_by_role("alert")).to_contain_text("310001")
    assert len(alice.errors) == 1
    assert "400" in alice.errors.pop()


def test_a_signed_in_program_is_shown_and_can_be_ended(visit: Visit) -> None:
    alice = visit("alice")
    credentials = {"username": "alice", "password": "alice-demo-2026"}
    tokens = alice.page.request.post(f"{alice.site}/api/v1/auth/token/", data=credentials).json()
    assert status_with(alice, tokens["access"], "/api/v1/auth/whoami/") == 200
    alice.open("/account/")
    programs = alice.page.get_by_role("region", name="Signed-in programs")
    while programs.get_by_role("button", name="End").count():
        programs.get_by_role("button", name="End").first.click()
        alice.page.wait_for_load_state("networkidle")
    assert status_with(alice, tokens["access"], "/api/v1/auth/whoami/") == 401


def test_the_page_asks_strangers_to_sign_in(visit: Visit) -> None:
    anybody = visit(None)
    anybody.open("/account/")
    assert "/login/?next=/account/" in anybody.page.url
