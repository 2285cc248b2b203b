"""Disagreements in a real Chromium: an adjudicator works through them by keys alone."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from fine_tune_assets.ledger.reviews.decision_records import list_decisions
from fine_tune_assets_tests.desk.accessibility import check
from fine_tune_assets_tests.desk.conftest import Site, sign_in_at
from fine_tune_assets_tests.desk.installation import drafts_of

REPAIRED = "Cough and fever for 9 days."


@pytest.fixture
def site(ward: Callable[..., Site]) -> Site:
    """Four examples on which one reviewer repaired and another one rejected."""
    made = ward(reviewers=2)
    for name, role in (("Reviewer One", "reviewer"), ("Reviewer Two", "reviewer"), ("Third", "approver")):
        made.add(name, role)
    one, two = made.signed_in("Reviewer One"), made.signed_in("Reviewer Two")
    for draft in drafts_of(made.settings)[:4]:
        one.approve(draft, REPAIRED)
        two.reject(draft)
    return made


def test_an_adjudicator_works_through_disagreements_by_keyboard(page: Page, site: Site) -> None:
    """Choose a reviewer's text, write a text, or reject with a reason; the next disagreement opens after each."""
    drafts = drafts_of(site.settings)[:4]
    sign_in_at(page, site, "Third")
    page.goto(f"{site.url}/disagreements")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/disagreements/{drafts[0]['example_id']}")
    page.keyboard.press("1")
    expect(page.get_by_label("Output of Reviewer One")).to_be_checked()
    page.keyboard.press("a")
    page.wait_for_url(f"**/disagreements/{drafts[1]['example_id']}?notice=adjudicated")
    page.keyboard.press("e")
    expect(page.get_by_label("Your text")).to_be_focused()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("Cough and fever, per area.")
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    page.wait_for_url(f"**/disagreements/{drafts[2]['example_id']}?notice=adjudicated")
    page.keyboard.press("n")
    page.wait_for_url(f"**/disagreements/{drafts[3]['example_id']}")
    page.keyboard.press("r")
    expect(page.get_by_label("Reason, if you reject")).to_be_focused()
    page.keyboard.type("States something")
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    # After the last one, skipped disagreements follow.
    page.wait_for_url(f"**/disagreements/{drafts[2]['example_id']}?notice=adjudicated")
    page.keyboard.press("1")
    page.keyboard.press("a")
    page.wait_for_url("**/disagreements?notice=adjudicated")
    expect(page.get_by_role("heading", name="No disagreements")).to_be_visible()
    settled = [decision for decision in list_decisions(site.ledger) if decision.role == "adjudicate"]
    assert [(d.decision, d.output) for d in settled] == [
        ("approve", REPAIRED), ("approve", "Cough and fever, per area."), ("reject", None), ("approve", REPAIRED),
    ]  # fmt: skip


def test_leaving_an_adjudicators_own_text_asks_for_confirmation(page: Page, site: Site) -> None:
    """As for a reviewer's text; submitting it needs no confirmation."""
    first = drafts_of(site.settings)[0]
    sign_in_at(page, site, "Third")
    page.goto(f"{site.url}/disagreements/{first['example_id']}")
    page.keyboard.press("e")
    page.keyboard.type("Typed. ")
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    expect(page.get_by_role("dialog", name="You have changed the text")).to_be_visible()
    check(page, "leaving a disagreement")
    page.keyboard.press("Enter")
    assert page.url.endswith(first["example_id"])
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    check(page, "keys of a disagreement")


def test_an_adjudicator_sees_the_unsupported_parts_of_each_text(page: Page, site: Site) -> None:
    """The unsupported number of a repair is marked, with its sentence."""
    sign_in_at(page, site, "Third")
    page.goto(f"{site.url}/disagreements/{drafts_of(site.settings)[0]['example_id']}")
    side = page.get_by_role("region", name="Reviewer One", exact=True)
    expect(side.locator("mark:not(.sentence)")).to_contain_text("9")
    expect(side.locator("mark.sentence").first).to_have_attribute("title", "flagged sentence")
    check(page, "disagreement")
