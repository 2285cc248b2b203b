"""Asking in a real Chromium: the answer as it comes, what is typed is never lost, all by keys, and axe's rules in every look."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.reviews.corrections import list_corrections
from fine_tune_assets_tests.desk.accessibility import check, look
from fine_tune_assets_tests.desk.asking import Speaker, asking
from fine_tune_assets_tests.desk.conftest import Site, sign_in_at
from fine_tune_assets_tests.gateway.answers.test_knowledge import FILES
from fine_tune_assets_tests.retrieval.made import LEAVE, document
from fine_tune_assets_tests.retrieval.test_question_passages import go_live

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


def test_an_answer_is_seen_while_it_comes_and_corrected_by_keys_alone(page: Page, site: Site, speaker: Speaker) -> None:
    """The first words stand there before the last are written; the release is named; the correction is kept under one's name."""
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
    page.keyboard.type("says something wrong")
    page.keyboard.press("Tab")
    page.keyboard.type("high")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Your correction is kept")).to_be_visible()
    key = read_or_create_key(site.settings.layout.keys, KEY_NAME)
    (kept,) = list_corrections(site.ledger, key)
    assert (kept.author, kept.corrected_answer, kept.error_kind, kept.severity) == (
        "Asker", "A cough.", "wrong_fact", "high",
    )  # fmt: skip
    assert kept.seconds_spent is not None
    page.get_by_role("button", name="Thumb down").click()
    expect(page.get_by_text("Your thumb down is recorded.")).to_be_visible()
    page.reload()
    expect(page.locator(".exchange")).to_have_count(0)
    kept_there = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert "cough" not in kept_there
    assert "What is it" not in kept_there


def test_stopping_and_a_gateway_that_is_away_keep_the_question(page: Page, site: Site, speaker: Speaker) -> None:
    speaker.may_end.clear()
    sign_in_at(page, site, "Asker")
    page.goto(f"{site.url}/ask")
    page.get_by_label("Question, or the text").fill("What is it?")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".exchange .said")).to_have_text("A cough,")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped. What you typed is still here.")).to_be_visible()
    expect(page.locator(".exchange")).to_have_count(0)
    expect(page.locator("#question")).to_have_value("What is it?")
    page.context.clear_cookies()
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_text("Your session is over.")).to_be_visible()
    expect(page.locator("#question")).to_have_value("What is it?")


@pytest.mark.slow
def test_asking_passes_the_accessibility_rules_in_every_look(look: Page, site: Site, speaker: Speaker) -> None:
    """Empty, while an answer comes, with citations and a warning, correcting, refused, kept."""
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
    look.get_by_label("How grave").select_option("low")
    look.get_by_role("button", name="Send the correction").click()
    expect(look.get_by_text("Your correction is kept")).to_be_visible()
    check(look, "kept")
    look.locator("#question").fill("What is the boiling point of tungsten?")
    look.keyboard.press("Control+Enter")
    expect(look.get_by_text("No document that you may see answers this.")).to_be_visible()
    check(look, "nothing found")
