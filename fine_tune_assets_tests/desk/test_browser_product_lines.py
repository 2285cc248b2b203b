"""The switch between product lines in a real Chromium: by keyboard, without scripts, in narrow windows and in both themes."""

import itertools
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from fine_tune_assets.core.settings import Settings
from fine_tune_assets_tests.desk.accessibility import check
from fine_tune_assets_tests.desk.conftest import PASSWORD, sign_in_on
from fine_tune_assets_tests.desk.two_lines import TwoLines, serving_lines

REVIEWER = "Reviewer One"


@pytest.fixture
def lines(settings: Settings) -> Iterator[TwoLines]:
    with serving_lines(settings) as found:
        for site in (found.main, found.law):
            site.add(REVIEWER, "reviewer", "operator")
        yield found


def name_of_line(page: Page) -> str:
    return (
        page.locator(".product-lines > summary, p.product-line")
        .inner_text()
        .strip()
        .removeprefix("Product line")
        .strip()
    )


def sign_in_here(page: Page) -> None:
    page.get_by_label("Name").fill(REVIEWER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("button", name="Sign out").wait_for()


@pytest.mark.parametrize(("width", "theme"), list(itertools.product((1440, 390), ("light", "dark"))))
def test_people_reach_their_line_before_and_after_signing_in(
    browser: Browser, lines: TwoLines, width: int, theme: str
) -> None:
    """Each page names its line, in every look."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{lines.main.url}/sign-in")
    check(page, "sign-in")
    page.get_by_role("navigation", name="Product line").get_by_role("link", name="law").click()
    page.get_by_role("heading", name="Sign in to law").wait_for()
    sign_in_here(page)
    assert name_of_line(page) == "law"
    expect(page).to_have_title("Home · law · Fine-Tune Desk")
    page.locator(".product-lines > summary").click()
    links = page.get_by_role("navigation", name="Product lines").get_by_role("link")
    expect(links).to_have_text(["main", "law"])
    expect(links.nth(1)).to_have_attribute("aria-current", "true")
    check(page, "open list of lines")
    links.first.click()
    page.get_by_role("heading", name="Sign in to main").wait_for()
    context.close()


def test_the_list_of_lines_works_by_keyboard(page: Page, lines: TwoLines) -> None:
    """Enter opens it, Escape closes it and returns the focus, and leaving it closes it."""
    sign_in_on(page, lines.main.url, REVIEWER)
    summary, link = page.locator(".product-lines > summary"), page.locator(".product-lines a", has_text="law")
    summary.focus()
    page.keyboard.press("Enter")
    expect(link).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(link).to_be_hidden()
    expect(summary).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(link).to_be_hidden()
    summary.focus()
    page.keyboard.press("Enter")
    link.focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Sign in to law").wait_for()


@pytest.fixture
def scriptless(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(java_script_enabled=False)
    yield context
    context.close()


def test_lines_can_be_switched_without_scripts(scriptless: BrowserContext, lines: TwoLines) -> None:
    page = scriptless.new_page()
    sign_in_on(page, lines.main.url, REVIEWER)
    page.locator(".product-lines > summary").click()
    page.locator(".product-lines a", has_text="law").click()
    page.get_by_role("heading", name="Sign in to law").wait_for()


def test_an_open_page_keeps_showing_its_line_after_another_tab_switched(browser: Browser, lines: TwoLines) -> None:
    """The home page refreshes itself. Its figures must not become those of another line."""
    context = browser.new_context()
    first, second = context.new_page(), context.new_page()
    sign_in_on(first, lines.main.url, REVIEWER)
    expect(first.locator("main")).to_contain_text("4 drafts to review")
    second.goto(f"{lines.main.url}/lines/law")
    sign_in_here(second)
    expect(second.locator("main")).to_contain_text("6 drafts to review")
    with first.expect_response("**/overview") as refreshed:
        first.evaluate("htmx.ajax('GET', '/overview', {source: '#overview', target: '#overview', swap: 'outerHTML'})")
    assert "4 drafts to review" in refreshed.value.text()
    context.close()
