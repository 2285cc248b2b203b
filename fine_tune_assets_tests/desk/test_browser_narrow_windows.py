"""Tables with many columns in a real Chromium: no page scrolls sideways, and no column is cut off."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, expect

from fine_tune_assets.ledger.audit.request_log import RequestEntry, record_requests
from fine_tune_assets.ledger.reviews.correction_records import record_correction
from fine_tune_assets.ledger.reviews.feedback import record_feedback
from fine_tune_assets_tests.desk.accessibility import check, is_wider_than_its_window
from fine_tune_assets_tests.desk.conftest import Site, sign_in_at
from fine_tune_assets_tests.ledger.ledger_rows import record_promoted

WIDTHS = (1440, 1280, 800, 390)
RELEASES = ("0f3a9c1e77ab42d0", "b7d2f1c05e6649aa")
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def site(serve: Callable[..., Site]) -> Site:
    made = serve()
    made.add("Operator One", "operator", "auditor")
    made.add("Professor Maximiliane von Hohenlohe-Bartenstein", "reviewer", "user")
    for release in RELEASES:
        _record_outcomes(made, release)
    return made


def _record_outcomes(site: Site, release: str) -> None:
    """Answers, corrections with an error and a time, and ratings of one release."""
    record_promoted(site.ledger, release)
    record_requests(
        site.ledger,
        [RequestEntry(NOW, "k", "/v1/completions", 200, None, release, 1, 1, 1, None, None)] * 9,
        {},
        NOW,
    )
    texts = dict.fromkeys(("instruction", "input", "answer", "corrected_answer"), "x")
    for kind in ("omission", "hallucination", "wrong_number", "identifier_shown", "tone"):
        sent = {"release_id": release, "author": "ward 3", "idempotency_key": f"{release} {kind}", **texts}
        record_correction(site.ledger, b"k" * 32, error_kind=kind, seconds_spent=180, **sent)
    record_feedback(site.ledger, release_id=release, author="ward 3", rating="up", idempotency_key=release)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("path", "table", "last"), [("/users", "Users", "button"), ("/impact", "Releases", "td")])
def test_every_column_is_visible_without_scrolling_sideways(
    page: Page, site: Site, width: int, path: str, table: str, last: str
) -> None:
    """Buttons and figures beyond the edge of a table are not found."""
    page.set_viewport_size({"width": width, "height": 900})
    sign_in_at(page, site, "Operator One")
    page.goto(site.url + path)
    assert not is_wider_than_its_window(page)
    region = page.get_by_role("region", name=table)
    assert region.evaluate("table => table.scrollWidth <= table.clientWidth")
    expect(region.locator(f"tbody tr:first-child {last}").last).to_be_visible()


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/users", "/impact"])
def test_these_pages_pass_the_accessibility_rules_in_a_narrow_window(
    page: Page, site: Site, theme: str, path: str
) -> None:
    """Rows are stacked there."""
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": 390, "height": 844})
    sign_in_at(page, site, "Operator One")
    page.goto(site.url + path)
    check(page, path)
