"""The Jinja environment with its filters, and the desk's static files."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from fine_tune_assets.core.fingerprints import fingerprint_bytes
from fine_tune_assets.core.line_names import MAIN_LINE, name_line, use_line
from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.desk.error_pages import not_found
from fine_tune_assets.desk.readable_names import sentence_case

_FOLDER = Path(__file__).parent / "static"
_MEDIA_TYPES = MappingProxyType(
    {
        "ask.js": "text/javascript; charset=utf-8",
        "desk.css": "text/css; charset=utf-8",
        "desk.js": "text/javascript; charset=utf-8",
        "dagster_session.js": "text/javascript; charset=utf-8",
        "link.js": "text/javascript; charset=utf-8",
        "htmx.min.js": "text/javascript; charset=utf-8",
        "mark.svg": "image/svg+xml",
    }
)


@cache
def _load_static_files() -> Mapping[str, bytes]:
    return {name: (_FOLDER / name).read_bytes() for name in _MEDIA_TYPES}


@cache
def make_static_url(name: str) -> str:
    """URL with part of the content's fingerprint, so that browsers never combine a stale file with a new page."""
    return f"/static/{name}?v={fingerprint_bytes(_load_static_files()[name])[:12]}"


def make_static_response(name: str) -> Response:
    """Raises PageError for an unknown name."""
    if name not in _MEDIA_TYPES:
        raise not_found()
    headers = {"cache-control": "public, max-age=31536000, immutable"}
    return Response(_load_static_files()[name], media_type=_MEDIA_TYPES[name], headers=headers)


@cache
def make_environment() -> Environment:
    """The Jinja environment, created once for each process."""
    folder = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["static"] = make_static_url
    environment.filters["day"] = lambda at: f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"
    environment.filters["ago"] = format_age
    environment.filters["at_line"] = at_line
    environment.filters["sentence_case"] = sentence_case
    environment.tests["same_person"] = is_same_person
    # Compile all templates now; otherwise the first request of each page waits for it.
    for name in environment.list_templates():
        environment.get_template(name)
    return environment


def at_line(text: str, line: str) -> str:
    """A text whose commands name the product line unless it is the main one. HTML stays HTML."""
    with use_line("" if line == MAIN_LINE else line):
        return type(text)(name_line(text))


def format_age(at: datetime, now: datetime) -> str:
    """Age as "4 min", "3 h" or "12 days"."""
    minutes = max(0, int((now - at).total_seconds() // 60))
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h"
    return f"{minutes // (24 * 60)} days"
