"""What the desk's browser tests hold every page to: axe's rules and no scrolling sideways, at both widths and in both themes."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
LOOKS = list(itertools.product((1280, 800), ("light", "dark")))


def faults(page: Page) -> list[str]:
    """What axe finds on the page as it is."""
    page.evaluate(AXE)
    found = page.evaluate("tags => axe.run(document, {runOnly: tags})", RULES)
    return [f"{v['id']}: {node['target']}" for v in found["violations"] for node in v["nodes"]]


def is_wider_than_its_window(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


@pytest.fixture(params=LOOKS, ids=lambda look: f"{look[0]}-{look[1]}")
def look(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    width, theme = request.param
    context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=theme)
    yield context.new_page()
    context.close()


def check(page: Page, name: str) -> None:
    found = faults(page)
    assert found == [], f"{name}: {found}"
    assert not is_wider_than_its_window(page), name
