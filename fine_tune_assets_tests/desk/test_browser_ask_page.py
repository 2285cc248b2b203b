"""The ask page in a real Chromium: streaming, no lost text, keyboard use, and accessibility in every look."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.reviews.correction_records import list_corrections
from fine_tune_assets_tests.desk.accessibility import check, look
from fine_tune_assets_tests.desk.conftest import Site, sign_in_at
from fine_tune_assets_tests.desk.scripted_engine import Speaker, asking
from fine_tune_assets_tests.gateway.answers.document_house import FILES
from fine_tune_assets_tests.retrieval.live_index import go_live
from fine_tune_assets_tests.retrieval.small_index import LEAVE, document

__all__ = ["look"]
QUESTION = "How many days of paid time off do full-time staff have?"


@pytest.fixture
def running(settings: Settings, tmp_path: Path) -> Iterator[tuple[Settings, Speaker]]:
    with asking(settings, tmp_path / "e.sock", FILES) as found:
        yield found


@pytest.fixture
def speaker(running: tuple[Settings, Speaker]) -> Speaker:
    return running[1]


@pytest.fixture
def site(running: tuple[Settings, Speaker], serve: Callable[..., Site]) -> Site:
    made = serve(gateway={"port": running[0].gateway.port})
    made.add("Asker", "user")
    return made


def test_an_answer_is_streamed_and_corrected_by_keyboard(page: Page, site: Site, speaker: Speaker) -> None:
    """The first words appear before the last are generated; the correction is recorded with release and user."""
    speaker.may_end.clear()
    sign_in_at(page, site, "Asker")
    page.goto(f"{site.url}/ask")
    page.keyboard.press("Tab")
    page.locator("#question").focus()
    page.keyboard.type("What is it?")
    page.keyboard.press("Control+Enter")
    said = page.locator(".exchange .said").first
    expect(said).to_have_text("A cough,")
    expect(page.get_by_text("The model is answering.")).to_be_visible()
    speaker.may_end.set()
    expect(said).to_have_text("A cough, since Monday.")
    expect(page.locator("#ask-state")).to_have_text(f"Answered by release {speaker.release_id}.")
    expect(page.locator("#question")).to_be_focused()
    expect(page.locator("#question")).to_have_value("")
    page.locator(".exchange summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("A cough.")
    page.keyboard.press("Tab")
    page.keyboard.type("wrong statement")
    page.keyboard.press("Tab")
    page.keyboard.type("high")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Your correction is recorded")).to_be_visible()
    key = read_or_create_key(site.settings.layout.keys, KEY_NAME)
    (kept,) = list_corrections(site.ledger, key)
    assert (kept.author, kept.corrected_answer, kept.error_kind, kept.severity) == (
        "Asker", "A cough.", "wrong_fact", "high",
    )  # fmt: skip
    assert kept.seconds_spent is not None
    page.get_by_role("button", name="Thumb down").click()
    expect(page.get_by_text("Your rating is recorded: thumb down.")).to_be_visible()
    page.reload()
    expect(page.locator(".exchange")).to_have_count(0)
    kept_there = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert "cough" not in kept_there
    assert "What is it" not in kept_there


def test_stopping_and_an_expired_session_keep_the_question(page: Page, site: Site, speaker: Speaker) -> None:
    speaker.may_end.clear()
    sign_in_at(page, site, "Asker")
    page.goto(f"{site.url}/ask")
    page.get_by_label("Question, or input of the task").fill("What is it?")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".exchange .said")).to_have_text("A cough,")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped. Your question is still here.")).to_be_visible()
    expect(page.locator(".exchange")).to_have_count(0)
    expect(page.locator("#question")).to_have_value("What is it?")
    page.context.clear_cookies()
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_text("Your session has ended.")).to_be_visible()
    expect(page.locator("#question")).to_have_value("What is it?")


@pytest.mark.slow
def test_the_ask_page_is_accessible_in_every_look(look: Page, site: Site, speaker: Speaker) -> None:
    """Empty, streaming, with citations and a warning, correcting, refused, recorded."""
    go_live(site.settings, site.ledger, document("leave.md", LEAVE))
    speaker.pieces = ["You have ", "25 days [1]."]
    speaker.may_end.clear()
    sign_in_at(look, site, "Asker")
    look.goto(f"{site.url}/ask")
    check(look, "empty")
    look.locator("#question").fill(QUESTION)
    look.keyboard.press("Control+Enter")
    expect(look.locator(".exchange .said")).to_have_text("You have")
    check(look, "while it comes")
    speaker.may_end.set()
    expect(look.locator("mark")).to_have_text("25 days")
    expect(look.locator(".citations")).to_contain_text("Leave")
    check(look, "answered")
    look.locator(".exchange summary").click()
    check(look, "correcting")
    look.get_by_label("The better answer").fill("You have 20 days [1].")
    look.get_by_label("What was wrong").select_option("wrong_number")
    look.get_by_label("Severity").select_option("low")
    look.get_by_role("button", name="Send the correction").click()
    expect(look.get_by_text("Your correction is recorded")).to_be_visible()
    check(look, "kept")
    look.locator("#question").fill("What is the boiling point of tungsten?")
    look.keyboard.press("Control+Enter")
    expect(look.get_by_text("No document that you may see answers this question.")).to_be_visible()
    check(look, "nothing found")
