"""A model's draft in a real Chromium: each sentence leads to its source in the report, also without JavaScript."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from fine_tune_assets_tests.desk.accessibility import check, is_wider_than_its_window, look
from fine_tune_assets_tests.desk.conftest import Site, sign_in_at
from fine_tune_assets_tests.desk.model_written import fill_with_model_drafts

__all__ = ["look"]
pytestmark = pytest.mark.slow
SOURCE_OF_2 = "No chest pain."


@pytest.fixture
def site(ward: Callable[..., Site]) -> Site:
    made = ward()
    made.add("Reviewer One", "reviewer")
    return made


def open_draft(page: Page, site: Site, filler: int = 0) -> None:
    _, row = fill_with_model_drafts(site.settings, site.ledger, filler)
    sign_in_at(page, site, "Reviewer One")
    page.goto(f"{site.url}/items/{row['example_id']}")


def lit(page: Page) -> list[str]:
    return page.locator(".sourced.is-lit").all_inner_texts()


def test_pointer_and_focus_light_a_sentence_and_its_source(page: Page, site: Site) -> None:
    """In both directions, and only while the pointer or the focus is there."""
    page.set_viewport_size({"width": 1440, "height": 900})
    open_draft(page, site)
    sentence = page.locator("#reading .sourced[data-sources='2']")
    sentence.hover()
    assert set(lit(page)) >= {"He has no chest pain.", SOURCE_OF_2}
    page.locator("#h-output").hover()
    assert lit(page) == []
    page.locator(".source .sourced[data-sources='2']").hover()
    assert "He has no chest pain." in lit(page)
    page.locator("#h-output").hover()
    page.locator("#sentence-2").focus()
    assert SOURCE_OF_2 in lit(page)


def test_the_number_of_a_sentence_scrolls_to_its_source_and_back(page: Page, site: Site) -> None:
    """The source may be screens away in a long report."""
    page.set_viewport_size({"width": 1440, "height": 900})
    open_draft(page, site, filler=30)
    source = page.locator("#source-4")
    expect(source).not_to_be_in_viewport()
    page.locator("#sentence-4").click()
    expect(source).to_be_in_viewport()
    source.click()
    expect(page.locator("#sentence-4")).to_be_in_viewport()
    assert page.url.endswith("#sentence-4")


def test_without_javascript_numbers_mark_sentences_and_sources(browser: Browser, site: Site) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    open_draft(page, site)
    numbers = [page.locator(part).all_inner_texts() for part in ("#reading .source-number", ".source .source-number")]
    assert numbers == [["1", "2", "3", "4"]] * 2
    page.get_by_role("link", name="Source of sentence 2").click()
    expect(page.locator("#source-2")).to_be_in_viewport()
    context.close()


def test_a_repaired_sentence_keeps_no_old_source(page: Page, site: Site) -> None:
    """The source was found for the model's words, not for the reviewer's."""
    open_draft(page, site)
    expect(page.locator("#reading .sourced").first).to_be_visible()
    page.get_by_role("button", name="Edit").click()
    page.locator("#output").fill("Another output.")
    expect(page.locator("#reading .sourced").first).to_be_hidden()


def test_the_number_is_no_part_of_a_selected_identifier(page: Page, site: Site) -> None:
    """Marking PHI takes the selection, and a number in it would match nothing in the report."""
    open_draft(page, site)
    text = page.locator(".source .text").first.evaluate(
        "part => { getSelection().selectAllChildren(part); return getSelection().toString(); }"
    )
    assert "38.4 C. No chest pain. He takes" in text


def test_highlighted_sources_are_accessible(look: Page, site: Site) -> None:
    open_draft(look, site)
    check(look, "a model's draft")


def test_a_phone_shows_the_sources_without_scrolling_sideways(page: Page, site: Site) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    open_draft(page, site, filler=3)
    assert not is_wider_than_its_window(page)
    page.locator("#sentence-4").click()
    expect(page.locator("#source-4")).to_be_in_viewport()
