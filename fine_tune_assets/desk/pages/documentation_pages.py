"""The project's documentation as pages of the desk, so that it can be read without internet access.

Serves the Markdown and image files of the folder `docs`, and nothing else.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path, PurePosixPath

from markdown_it import MarkdownIt
from markdown_it.token import Token
from starlette.responses import FileResponse, RedirectResponse, Response

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import DOCUMENTATION_PATH
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.error_pages import not_found
from fine_tune_assets.desk.rendering import render_page
from fine_tune_assets.desk.request_context import RequestContext

DOCS = PROJECT_DIR / "docs"
START_PAGE = "README.md"
_IMAGE_TYPES = {".png": "image/png"}
_WEB_LINK = re.compile("https?://|#")
_COMMENT = compile_bounded("<!--.*?-->", re.DOTALL, repeats=1_000)


def show_documentation(desk: Desk, context: RequestContext) -> Response:
    name = context.path_param("name")
    try:
        file = (DOCS / name).resolve()
        is_served = str(file.relative_to(DOCS.resolve())) == name and file.is_file()
    except (ValueError, OSError):  # outside of the folder, or no possible name of a file
        is_served = False
    if not is_served:
        raise not_found()
    if file.suffix in _IMAGE_TYPES:
        return FileResponse(file, media_type=_IMAGE_TYPES[file.suffix])
    if file.suffix != ".md":
        raise not_found()
    page = render_markdown(file, PurePosixPath(name))
    return render_page(desk, context, "documentation.html", page=page, start=START_PAGE)


def show_start_page(_desk: Desk, _context: RequestContext) -> Response:
    return RedirectResponse(f"{DOCUMENTATION_PATH}/{START_PAGE}", status_code=303)


@dataclass(frozen=True)
class DocumentationPage:
    title: str
    body: str
    """HTML."""
    sections: tuple[tuple[str, str], ...]
    """Anchor and text of each heading of the second level."""


@cache
def render_markdown(file: Path, name: PurePosixPath) -> DocumentationPage:
    """The page whose path in the documentation is `name`. Comments are removed, other HTML is escaped."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(_COMMENT.sub("", file.read_text(encoding="utf-8")))
    for heading, text in _headings(tokens):
        heading.attrSet("id", _anchor(text))
    for token in tokens:
        for link in token.children or ():
            if link.type == "link_open" and not _is_served(str(link.attrGet("href") or ""), name):
                link.attrs.pop("href")  # keep the text
    title = next((text for _, text in _headings(tokens)), name.name)
    sections = tuple((str(heading.attrGet("id")), text) for heading, text in _headings(tokens) if heading.tag == "h2")
    return DocumentationPage(title, str(markdown.renderer.render(tokens, markdown.options, {})), sections)


def _headings(tokens: Sequence[Token]) -> Iterator[tuple[Token, str]]:
    for token, inline in pairwise(tokens):
        if token.type == "heading_open":
            yield token, "".join(child.content for child in inline.children or ())


def _anchor(heading: str) -> str:
    """The id that GitHub gives to a heading, which links in the documentation use."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _is_served(href: str, name: PurePosixPath) -> bool:
    """Whether a link of this page leads to a page of the documentation, to an anchor, or to another site."""
    if _WEB_LINK.match(href):
        return True
    target = (DOCS / name.parent / href.partition("#")[0]).resolve()
    return target.is_relative_to(DOCS.resolve()) and target.suffix == ".md" and target.is_file()
