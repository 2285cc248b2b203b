"""Rare states of the desk's pages in a real Chromium: refused, broken, claimed by another user, or loading."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, Route, expect

from fine_tune_assets.core.files import write_table
from fine_tune_assets.ledger.ledger_tables import audit_entries, review_items, sessions
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.report_rows import UnreadableReport
from fine_tune_assets_tests.desk.accessibility import check, look
from fine_tune_assets_tests.desk.conftest import Site, sign_in_at
from fine_tune_assets_tests.desk.installation import BATCH, drafts_of

__all__ = ["look"]


@pytest.fixture
def site(ward: Callable[..., Site]) -> Site:
    made = ward(reviewers=2)
    for name, *roles in (
        ("Reviewer One", "reviewer"),
        ("Reviewer Two", "reviewer"),
        ("All Roles", "ingest", "reviewer", "approver", "operator", "auditor"),
    ):
        made.add(name, *roles)
    refused = {"batch": BATCH, "origin_file": "visits.csv", "record": 2, "reason": "no_subject", "size_bytes": 7}
    rows = [
        {**refused, "detail": "Name the patient."},
        {**refused, "record": None, "detail": "There is no text in it."},
    ]
    write_table(made.settings.layout.table("unreadable_reports", BATCH), table_from_rows(rows, UnreadableReport.SCHEMA))
    return made


def hold(page: Page, address: str) -> threading.Event:
    """Delay the response of an address until the event is set."""
    go_on = threading.Event()

    def wait(route: Route) -> None:
        while not go_on.is_set():
            page.wait_for_timeout(20)
        route.continue_()

    page.route(address, wait)
    return go_on


@pytest.mark.slow
def test_rare_states_are_accessible_in_every_look(look: Page, site: Site) -> None:
    """A batch with unreadable files, a subject, a full audit log, and a broken chain."""
    first = drafts_of(site.settings)[0]
    site.signed_in("Reviewer One").approve(first, "Cough and fever for two days.")
    sign_in_at(look, site, "All Roles")
    look.goto(f"{site.url}/intake/{BATCH}")
    expect(look.locator("main")).to_contain_text("Name the patient.")
    check(look, "batch")
    look.goto(f"{site.url}/subjects")
    look.get_by_label("Subject key").fill("unknown")
    look.keyboard.press("Enter")
    look.get_by_role("alert").wait_for()
    check(look, "unknown subject")
    look.get_by_label("Subject key").fill(first["subject_key"])
    look.keyboard.press("Enter")
    expect(look.locator("main")).to_contain_text(first["example_id"])
    check(look, "subject")
    look.goto(f"{site.url}/audit?verify=1")
    expect(look.locator("#chain")).to_contain_text("The chain is intact")
    expect(look.locator("[aria-label='Audit entries'] tbody tr").nth(3)).to_be_attached()
    check(look, "audit log")
    with site.ledger.begin() as connection:
        connection.execute(audit_entries.update().where(audit_entries.c.position == 2).values(actor="another user"))
    look.get_by_role("button", name="Check the chain").click()
    expect(look.locator("#chain")).to_contain_text("The chain is broken")
    check(look, "broken chain")


@pytest.mark.slow
def test_late_forms_are_accessible_in_every_look(look: Page, site: Site) -> None:
    """An item that another reviewer has claimed, and a form whose session has ended; both pages keep the text."""
    first = drafts_of(site.settings)[0]
    sign_in_at(look, site, "Reviewer One")

    def repair() -> None:
        look.goto(f"{site.url}/items/{first['example_id']}")
        look.keyboard.press("e")
        look.locator("#output").fill("Cough and fever for two days.")
        look.keyboard.press("Control+Enter")
        look.get_by_role("button", name="Sign and approve as repaired").wait_for()

    repair()
    taken = {"assigned_to": "Reviewer Two", "assigned_until": datetime.now(UTC) + timedelta(hours=1), "version": 9}
    with site.ledger.begin() as connection:
        connection.execute(review_items.update().values(taken))
    look.keyboard.press("Enter")
    look.get_by_role("heading", name="Not recorded").wait_for()
    check(look, "conflict")
    with site.ledger.begin() as connection:
        connection.execute(review_items.update().values(assigned_to=None, assigned_until=None))
    repair()
    with site.ledger.begin() as connection:
        connection.execute(sessions.update().values(expires_at=datetime.now(UTC) - timedelta(minutes=1)))
    look.keyboard.press("Enter")
    look.get_by_role("heading", name="Your session has ended").wait_for()
    check(look, "session has ended")
    with look.context.expect_page() as opened:
        look.get_by_role("link", name="Sign in in another tab").click()
    sign_in_at(opened.value, site, "Reviewer One")
    look.get_by_role("button", name="Send again").click()
    look.get_by_role("heading", name="Confirm your form").wait_for()
    check(look, "confirm the form")


def test_the_page_indicates_a_running_comparison(page: Page, site: Site) -> None:
    """Comparing long texts takes a moment; the previous diff must not look current."""
    first = drafts_of(site.settings)[0]
    sign_in_at(page, site, "Reviewer One")
    page.goto(f"{site.url}/items/{first['example_id']}")
    page.keyboard.press("e")
    indicator = page.locator("#diffing")
    expect(indicator).to_be_hidden()
    go_on = hold(page, "**/diff")
    page.locator("#output").fill("Cough since Monday.")
    expect(indicator).to_be_visible()
    expect(indicator).to_have_text("Comparing")
    go_on.set()
    expect(page.locator("#diff ins").first).to_be_visible()
    expect(indicator).to_be_hidden()


def test_nothing_can_be_signed_before_the_preview_arrives(page: Page, site: Site) -> None:
    """The dialog opens at once; its text and its button come from the server."""
    first = drafts_of(site.settings)[0]
    sign_in_at(page, site, "Reviewer One")
    page.goto(f"{site.url}/items/{first['example_id']}")
    page.keyboard.press("e")
    go_on = hold(page, "**/signature-preview")
    page.locator("#output").fill("Cough since Monday.")
    page.keyboard.press("Control+Enter")
    dialog = page.locator("#approve-dialog")
    expect(dialog).to_contain_text("Preparing the text to sign")
    expect(dialog.get_by_role("button", name="Sign and approve")).to_have_count(0)
    go_on.set()
    expect(dialog.get_by_role("checkbox").first).to_be_focused()
    expect(dialog.get_by_role("button", name="Sign and approve as repaired")).to_be_visible()
