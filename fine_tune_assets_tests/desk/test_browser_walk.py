"""A timed walk in a real Chromium: a reviewer signs in, decides eight items by keys, undoes one, and finds the decisions again.

It prints the seconds and the number of key presses, typed words not counted (`pytest -rP`). A person also reads the texts.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from playwright.sync_api import Page, expect

from fine_tune_assets.ledger.reviews.decision_records import list_decision_records, list_decisions
from fine_tune_assets_tests.desk.conftest import Site, sign_in_at

REPAIR = "Cough and fever for two days."


@dataclass
class Hands:
    """Presses keys and counts them."""

    page: Page
    presses: int = 0

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
            self.presses += 1

    def sign(self) -> None:
        """Acknowledge each flag in the dialog, then sign."""
        dialog = self.page.locator("#approve-dialog")
        button = dialog.locator("button.primary")
        button.wait_for()
        for box in dialog.get_by_role("checkbox").all():
            box.focus()
            self.presses += 1
            self.press("Space")
        button.focus()
        self.press("Enter")

    def approve(self) -> None:
        self.press("a")
        self.sign()
        self.wait_for_next("approved")

    def reject(self) -> None:
        self.press("r")
        self.page.locator("#reject-dialog").wait_for()
        self.press("Space", "Enter")
        self.wait_for_next("rejected")

    def repair(self) -> None:
        self.press("e", "ControlOrMeta+a")
        self.page.keyboard.type(REPAIR)
        self.press("Control+Enter")
        self.page.get_by_role("button", name="Sign and approve as repaired").wait_for()
        self.sign()
        self.wait_for_next("approved")

    def undo(self) -> None:
        self.press("u")
        self.page.wait_for_url("**notice=undone")

    def wait_for_next(self, notice: str) -> None:
        self.page.wait_for_url(f"**notice={notice}")
        self.page.locator("[data-undo]").wait_for()


@pytest.fixture
def site(ward: Callable[..., Site]) -> Site:
    made = ward(count=10)
    made.add("Reviewer One", "reviewer")
    return made


def test_a_reviewer_decides_eight_items_undoes_one_and_finds_them_again(page: Page, site: Site) -> None:
    """What a session at the desk costs, besides reading."""
    started = time.perf_counter()
    sign_in_at(page, site, "Reviewer One")
    page.goto(f"{site.url}/queue")
    hands = Hands(page)
    hands.press("n")
    page.wait_for_url("**/items/*")
    for action in (hands.approve, hands.reject, hands.repair, hands.approve):
        action()
    hands.undo()
    for action in (hands.reject, hands.approve, hands.repair, hands.approve, hands.approve):
        action()
    decided = time.perf_counter() - started
    page.get_by_role("link", name="My decisions").click()
    expect(page.locator(".decided > li")).to_have_count(9)
    page.get_by_label("Decision", exact=True).select_option("repaired")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator(".decided > li")).to_have_count(2)
    expect(page.locator(".decided > li").first).to_contain_text(REPAIR)
    found = time.perf_counter() - started
    print(
        f"Eight items decided, one of them after an undo: {decided:.1f} s since the sign-in page, {hands.presses} key presses. "
        f"Own decisions found after {found:.1f} s."
    )
    assert Counter(made.decision for made in list_decisions(site.ledger)) == {"approve": 6, "reject": 2}
    assert [made.output for made in list_decisions(site.ledger)].count(REPAIR) == 2
    assert sum(record.is_revoked for record in list_decision_records(site.ledger)) == 1
