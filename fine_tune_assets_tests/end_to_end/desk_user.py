"""A desk user in a real Chromium, on a complete installation, who asks the production model."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from playwright.sync_api import Page, expect, sync_playwright

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.people.users import create_user
from fine_tune_assets_tests.desk.conftest import PASSWORD, sign_in_on
from fine_tune_assets_tests.system_programs import CHROMIUM, require_program

ANSWER_MS = 120_000
QUESTION = "What brings somebody to the doctor who coughs?"


def add_user(settings: Settings, name: str) -> None:
    ledger = open_ledger(settings)
    try:
        create_user(ledger, name, ("user",), password=PASSWORD, oidc_identity=None, now=datetime.now(UTC))
    finally:
        ledger.close()


@contextmanager
def signed_in(settings: Settings, name: str) -> Iterator[Page]:
    """While it is open, nothing else in this thread may run an asyncio event loop."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=require_program(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        sign_in_on(page, settings.desk_address, name)
        yield page
        browser.close()


def ask(page: Page) -> str:
    """Ask a question, read the answer, and return the release that the page names."""
    page.get_by_role("link", name="Ask", exact=True).first.click()
    page.get_by_label("Question, or input of the task").fill(QUESTION)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#ask-state")).to_contain_text("Answered by release", timeout=ANSWER_MS)
    expect(page.locator(".exchange .said")).not_to_be_empty()
    return page.locator(".exchange .id").first.inner_text()
