"""The menu of the desk: pages by group and role, each with an icon, also in a small window."""

from itertools import groupby

import pytest
from playwright.sync_api import Browser, expect

from fine_tune_assets.core.permissions import ROLES
from fine_tune_assets.desk.desk_context import MENU_GROUPS
from fine_tune_assets.desk.routes import list_menu_entries
from fine_tune_assets.desk.templating import make_environment
from fine_tune_assets_tests.desk.accessibility import check, look
from fine_tune_assets_tests.desk.conftest import Site, browser, sign_in_at

__all__ = ["browser", "look"]


@pytest.mark.parametrize("role", ROLES)
def test_the_groups_are_in_order_and_each_is_one_block(role: str) -> None:
    """A group that appears twice would have two titles."""
    groups = [group for group, _ in groupby(list_menu_entries([role]), key=lambda entry: entry.group)]
    assert groups == sorted(set(groups), key=MENU_GROUPS.index)
    assert groups[-1] == ""  # Help


def test_every_page_of_the_menu_has_an_icon() -> None:
    """A new page without one would break the page of everyone who may open it."""
    icons = make_environment().get_template("icons.html").module.icon  # type: ignore[attr-defined]
    drawn = [str(icons(entry.icon)) for entry in list_menu_entries(ROLES)]
    assert len(set(drawn)) == len(drawn) > 10


def test_a_small_window_shows_the_menu_behind_a_button(site: Site, browser: Browser) -> None:
    """Fifteen links above every page would push its content away."""
    site.add("Reviewer One", "reviewer")
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    sign_in_at(page, site, "Reviewer One")
    link = page.locator("#menu").get_by_role("link", name="Queue")
    button = page.get_by_role("button", name="Menu")
    expect(link).to_be_hidden()
    button.click()
    expect(button).to_have_attribute("aria-expanded", "true")
    expect(link).to_be_visible()
    check(page, "menu in a small window")
    link.click()
    page.wait_for_url(f"{site.url}/queue")
    context.close()
