"""The documentation on the desk: every page, its links and images, and nothing outside of the folder."""

import re
from pathlib import PurePosixPath
from urllib.parse import urljoin

import pytest

from fine_tune_assets.desk.pages.documentation_pages import DOCS, render_markdown
from fine_tune_assets_tests.desk.conftest import Site

PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


@pytest.mark.parametrize("name", PAGES)
def test_every_page_has_a_title_and_links_that_lead_somewhere(name: str) -> None:
    """Readers without internet have no other copy."""
    page = render_markdown(DOCS / name, PurePosixPath(name))
    assert page.title
    assert "&lt;!--" not in page.body
    for href in re.findall('href="([^"]+)"', page.body):
        if href.startswith(("http://", "https://")):
            continue
        target, _, anchor = urljoin(f"/docs/{name}", href).removeprefix("/docs/").partition("#")
        assert target in PAGES, href
        assert not anchor or f'id="{anchor}"' in render_markdown(DOCS / target, PurePosixPath(target)).body, href


def test_users_read_pages_and_images_after_signing_in(site: Site) -> None:
    """The documentation of a version can name what is not public, so it is not either."""
    site.add("Reader", "user")
    reader = site.signed_in("Reader")
    assert reader.get("/docs").headers["location"] == "/docs/README.md"
    page = reader.get("/docs/README.md")
    assert page.status_code == 200
    assert 'href="tutorial/first-model.md"' in page.text
    assert reader.get("/docs/images/review.png").headers["content-type"] == "image/png"
    assert site.visitor().get("/docs/README.md").status_code == 303


@pytest.mark.parametrize(
    "path",
    [
        "../README.md",
        "..%2fpyproject.toml",
        "%2e%2e/dagster.yaml",
        "generate_reference.py",
        "how-to",
        "none.md",
        "README.md/",
        "%00",
        "x" * 300,
    ],
)
def test_nothing_else_is_served(site: Site, path: str) -> None:
    """Paths that leave the folder, folders, and files of another kind."""
    site.add("Reader", "user")
    assert site.signed_in("Reader").get(f"/docs/{path}").status_code == 404
