"""Queue, undo, identical cases and own decisions in a real Chromium: by keys alone, accessible in every look."""

import itertools
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from fine_tune_assets.ledger.reviews.decision_records import list_decision_records, list_decisions
from fine_tune_assets_tests.desk.accessibility import check, is_wider_than_its_window
from fine_tune_assets_tests.desk.conftest import Site, sign_in_at
from fine_tune_assets_tests.desk.installation import COMPLAINTS, drafts_of

LOOKS = list(itertools.product((1440, 390), ("light", "dark")))


@pytest.fixture
def site(ward: Callable[..., Site]) -> Site:
    made = ward(count=3 * len(COMPLAINTS))
    for name in ("Reviewer One", "Reviewer Two"):
        made.add(name, "reviewer")
    return made


@pytest.fixture(params=LOOKS, ids=lambda look: f"{look[0]}-{look[1]}")
def look(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    width, theme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    yield context.new_page()
    context.close()


def approve_by_keys(page: Page, site: Site) -> str:
    """Approve the first unflagged draft of the queue and return its id."""
    draft = next(draft for draft in drafts_of(site.settings) if not draft["flags"])
    page.goto(f"{site.url}/items/{draft['example_id']}")
    page.keyboard.press("a")
    page.get_by_role("button", name="Sign and approve", exact=True).wait_for()
    page.keyboard.press("Enter")
    page.locator("[data-undo]").wait_for()
    return str(draft["example_id"])


@pytest.mark.slow
def test_queue_cases_and_own_decisions_are_accessible_in_every_look(look: Page, site: Site) -> None:
    """Rows are cards in a narrow window."""
    one = site.signed_in("Reviewer One")
    first, second, third, *_ = drafts_of(site.settings)
    one.approve(first, "Cough and fever for two days, repaired by a reviewer.")
    one.reject(second, reason="The days are wrong.")
    flagged = next(d for d in drafts_of(site.settings) if d["flags"] and d not in (first, second, third))
    sign_in_at(look, site, "Reviewer One")
    for path in ("/queue", "/queue?state=all", "/decisions", "/decisions?outcome=rejected&since=2999-01-01"):
        look.goto(site.url + path)
        check(look, path)
    look.goto(f"{site.url}/items/{flagged['example_id']}/identical")
    look.locator("summary").first.click()
    check(look, "cases")
    look.get_by_text("Reject them instead").click()
    check(look, "rejecting cases")
    look.goto(f"{site.url}/items/{first['example_id']}/identical")
    check(look, "few or no cases")
    approve_by_keys(look, site)
    check(look, "undo")


def test_undo_by_a_key_opens_the_item_again(page: Page, site: Site) -> None:
    """The notice is announced, and its offer ends."""
    sign_in_at(page, site, "Reviewer One")
    example_id = approve_by_keys(page, site)
    expect(page.locator("body > [role=status]")).to_contain_text("Approved: Chief complaint")
    page.keyboard.press("u")
    page.wait_for_url(f"**/items/{example_id}?notice=undone")
    assert list_decisions(site.ledger) == []
    assert len(list_decision_records(site.ledger)) == 1
    assert page.locator("[data-undo]").count() == 0


def test_the_offer_to_undo_ends_but_not_while_it_has_the_focus(page: Page, site: Site) -> None:
    """A keyboard user who has reached the button must not lose it."""
    page.clock.install()
    sign_in_at(page, site, "Reviewer One")
    approve_by_keys(page, site)
    button = page.get_by_role("button", name="Undo")
    button.focus()
    page.clock.run_for(11_000)
    expect(button).to_be_visible()
    page.evaluate("document.activeElement.blur()")
    page.clock.run_for(2_000)
    expect(button).to_be_hidden()
    expect(page.locator(".said")).to_contain_text("Approved: Chief complaint")


def test_undo_works_without_scripts(browser: Browser, page: Page, site: Site) -> None:
    """It is a plain form."""
    sign_in_at(page, site, "Reviewer One")
    approve_by_keys(page, site)
    context = browser.new_context(java_script_enabled=False, storage_state=page.context.storage_state())
    plain = context.new_page()
    plain.goto(f"{site.url}/queue?notice=approved")
    plain.get_by_role("button", name="Undo").click()
    plain.wait_for_url("**notice=undone")
    assert list_decisions(site.ledger) == []
    context.close()


def test_identical_cases_are_signed_by_keys_alone(page: Page, site: Site) -> None:
    """Each input is opened before it can be ticked; what stays closed is not signed."""
    cases = [draft for draft in drafts_of(site.settings) if draft["output"] == COMPLAINTS[4]]
    sign_in_at(page, site, "Reviewer One")
    page.goto(f"{site.url}/items/{cases[0]['example_id']}/identical")
    expect(page.locator("[name=read]").first).to_be_hidden()
    for number in (1, 2):
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.get_by_label(f"Include case {number} in my signature").wait_for()
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
    expect(page.locator("[data-ticked]")).to_have_text("2 of 3 ticked")
    page.get_by_role("button", name="Sign and approve the ticked cases").focus()
    page.keyboard.press("Enter")
    page.locator("[data-undo]").wait_for()
    expect(page.locator(".said")).to_contain_text("2 cases")
    assert len(list_decisions(site.ledger)) == 2
    page.keyboard.press("u")
    page.wait_for_url("**/identical?notice=undone_cases")
    assert list_decisions(site.ledger) == []


def test_flags_of_cases_must_be_ticked_before_the_form_is_sent(page: Page, site: Site) -> None:
    """The browser asks for each of them; a rejection needs none."""
    case = next(draft for draft in drafts_of(site.settings) if draft["output"] == COMPLAINTS[0])
    assert case["flags"]
    sign_in_at(page, site, "Reviewer One")
    page.goto(f"{site.url}/items/{case['example_id']}/identical")
    page.locator("summary").first.click()
    page.locator("[name=read]").first.check()
    sign = page.get_by_role("button", name="Sign and approve the ticked cases")
    sign.click()
    expect(page.locator("[name=acknowledged]:invalid")).not_to_have_count(0)
    assert list_decisions(site.ledger) == []
    for box in page.locator("[name=acknowledged]").all():
        box.check()
    sign.click()
    page.locator("[data-undo]").wait_for()
    assert len(list_decisions(site.ledger)) == 1


@pytest.mark.parametrize("width", [1440, 1000, 800, 390])
def test_every_part_of_a_row_is_visible(page: Page, site: Site, width: int) -> None:
    """Nothing is cut off or needs scrolling sideways."""
    page.set_viewport_size({"width": width, "height": 900})
    sign_in_at(page, site, "Reviewer One")
    page.goto(f"{site.url}/queue")
    assert not is_wider_than_its_window(page)
    assert page.locator(".drafts").evaluate("table => table.scrollWidth <= table.parentElement.clientWidth")
    for part in ("a strong", ".preview", ".origin", ".tag.warn", "td:last-child"):
        expect(page.locator(f".drafts tbody tr:first-child {part}").first).to_be_in_viewport()
