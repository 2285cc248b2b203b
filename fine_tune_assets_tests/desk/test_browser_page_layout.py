"""The layout of filled pages in a real Chromium: nothing is cut off at any width, and long pages have a table of contents."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from fine_tune_assets.desk.pages.documentation_pages import DOCS
from fine_tune_assets_tests.desk.accessibility import check, is_wider_than_its_window
from fine_tune_assets_tests.desk.conftest import Site, sign_in_at
from fine_tune_assets_tests.desk.filled_desk import WHO, fill_desk
from fine_tune_assets_tests.desk.installation import drafts_of

SCREEN = {"width": 1440, "height": 900}
MAX_SCREENS = 3
_IS_CUT_OFF = "part => part.scrollWidth > part.clientWidth + 1"


@pytest.fixture
def site(ward: Callable[..., Site]) -> Site:
    return ward(reviewers=2)


def open_page(page: Page, site: Site, path: str) -> None:
    """Open a page; the form of subjects is sent, because its page has the results."""
    page.goto(site.url + path)
    if path == "/subjects":
        page.get_by_label("Subject key").fill(drafts_of(site.settings)[1]["subject_key"])
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="1 report").wait_for()


def find_cut_off_regions(page: Page) -> list[str]:
    """Labels of scrollable regions with content beyond their edge."""
    regions = page.locator("main .scroll").all()
    return [str(part.get_attribute("aria-label")) for part in regions if part.evaluate(_IS_CUT_OFF)]


def has_contents_if_long(page: Page) -> bool:
    height = page.evaluate("document.documentElement.scrollHeight")
    is_short = int(height) <= MAX_SCREENS * SCREEN["height"]
    return is_short or page.get_by_role("navigation", name="On this page").count() == 1


@pytest.mark.parametrize("width", [1440, 1280, 800, 390])
def test_no_page_scrolls_sideways_and_no_table_is_cut_off(page: Page, site: Site, width: int) -> None:
    """A column beyond the edge of a table is not found, least of all on a phone."""
    paths = fill_desk(site)
    page.set_viewport_size({"width": width, "height": 900})
    sign_in_at(page, site, WHO)
    for path in paths:
        open_page(page, site, path)
        assert not is_wider_than_its_window(page), path
        assert find_cut_off_regions(page) == [], path


def test_rows_of_tables_are_cards_with_labels_in_narrow_windows(page: Page, site: Site) -> None:
    """The head of the table is hidden there."""
    paths = fill_desk(site)
    page.set_viewport_size({"width": 390, "height": 844})
    sign_in_at(page, site, WHO)
    for path in paths:
        open_page(page, site, path)
        for cell in page.locator(".rows td[data-label]:visible").all()[:8]:
            label = cell.evaluate("cell => getComputedStyle(cell, '::before').content")
            assert label == f'"{cell.get_attribute("data-label")}"', path


def test_pages_longer_than_three_screens_have_a_table_of_contents(page: Page, site: Site) -> None:
    """Its links lead to headings of the page."""
    paths = fill_desk(site)
    page.set_viewport_size(SCREEN)  # type: ignore[arg-type]
    sign_in_at(page, site, WHO)
    for path in paths:
        open_page(page, site, path)
        assert has_contents_if_long(page), path
        for link in page.get_by_role("navigation", name="On this page").get_by_role("link").all():
            assert page.locator(f"[id='{str(link.get_attribute('href'))[1:]}']").count() == 1, path


@pytest.mark.slow
def test_long_pages_of_the_documentation_have_a_table_of_contents(page: Page, site: Site) -> None:
    site.add("Reader", "user")
    page.set_viewport_size(SCREEN)  # type: ignore[arg-type]
    sign_in_at(page, site, "Reader")
    for path in sorted(DOCS.rglob("*.md")):
        page.goto(f"{site.url}/docs/{path.relative_to(DOCS)}", wait_until="domcontentloaded")
        assert has_contents_if_long(page), path.name


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_filled_pages_pass_the_accessibility_rules(page: Page, site: Site, theme: str, width: int) -> None:
    paths = fill_desk(site)
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 900})
    sign_in_at(page, site, WHO)
    for path in paths:
        open_page(page, site, path)
        check(page, path)
