"""Graded answers in a real Chromium: an expert overrules the judge by keyboard and returns to the statement."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from fine_tune_assets.ledger.reviews.statement_labels import list_statement_labels
from fine_tune_assets_tests.desk.accessibility import check, is_wider_than_its_window, look
from fine_tune_assets_tests.desk.conftest import Site, sign_in_at
from fine_tune_assets_tests.desk.judged_drafts import INVENTED_SIDE, judge_the_drafts

__all__ = ["look"]


@pytest.fixture
def site(ward: Callable[..., Site]) -> Site:
    made = ward()
    made.add("Chief", "approver")
    judge_the_drafts(made.settings, made.ledger)
    return made


def open_answer(page: Page, site: Site) -> None:
    """The first answer with an unsupported statement."""
    page.goto(f"{site.url}/graded-answers?show=unsupported")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/graded-answers/[0-9a-f]+$"))


def test_a_label_is_given_by_keyboard_and_the_page_returns_to_the_statement(page: Page, site: Site) -> None:
    """An expert labels several statements in a row and must not lose the place each time."""
    page.set_viewport_size({"width": 1280, "height": 500})
    sign_in_at(page, site, "Chief")
    open_answer(page, site)
    statement = page.get_by_role("listitem").filter(has_text=INVENTED_SIDE).first
    button = statement.get_by_role("button", name="Not mentioned")
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**?notice=labelled#*")
    (label,) = list_statement_labels(site.ledger)
    assert label.support == "not mentioned"
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(statement).to_be_in_viewport()


def test_a_label_is_given_without_scripts(site: Site, page: Page) -> None:
    browser = page.context.browser
    assert browser is not None
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    sign_in_at(plain, site, "Chief")
    plain.goto(f"{site.url}/graded-answers")
    plain.locator("tbody th a").first.click()
    plain.get_by_role("button", name="Contradicted").first.click()
    plain.wait_for_url("**?notice=labelled#*")
    context.close()
    assert [label.support for label in list_statement_labels(site.ledger)] == ["contradicted"]


@pytest.mark.parametrize("width", [1440, 390])
def test_the_pages_fit_their_window(page: Page, site: Site, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    sign_in_at(page, site, "Chief")
    page.goto(f"{site.url}/graded-answers")
    assert not is_wider_than_its_window(page)
    open_answer(page, site)
    assert not is_wider_than_its_window(page)


@pytest.mark.slow
def test_graded_answers_pass_the_accessibility_rules_in_every_look(look: Page, site: Site) -> None:
    sign_in_at(look, site, "Chief")
    look.goto(f"{site.url}/graded-answers")
    check(look, "list")
    open_answer(look, site)
    look.get_by_role("button", name="Supported").first.click()
    look.wait_for_url("**?notice=labelled#*")
    look.locator("summary").click()
    check(look, "answer")
