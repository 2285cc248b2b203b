"""The templates with what every one of them may call, and the desk's own styles, scripts and pictures."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from fine_tune_assets.core.fingerprints import fingerprint_bytes
from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.desk.errors import not_found

_FOLDER = Path(__file__).parent / "static"
_TYPES = MappingProxyType(
    {
        "ask.js": "text/javascript; charset=utf-8",
        "desk.css": "text/css; charset=utf-8",
        "desk.js": "text/javascript; charset=utf-8",
        "link.js": "text/javascript; charset=utf-8",
        "htmx.min.js": "text/javascript; charset=utf-8",
        "mark.svg": "image/svg+xml",
    }
)


@cache
def _contents() -> Mapping[str, bytes]:
    return {name: (_FOLDER / name).read_bytes() for name in _TYPES}


@cache
def static_address(name: str) -> str:
    """With a part of the content's fingerprint, so that a browser never shows an old style with a new page."""
    return f"/static/{name}?v={fingerprint_bytes(_contents()[name])[:12]}"


def static_response(name: str) -> Response:
    """Raises PageError for a name that is not listed."""
    if name not in _TYPES:
        raise not_found()
    headers = {"cache-control": "public, max-age=31536000, immutable"}
    return Response(_contents()[name], media_type=_TYPES[name], headers=headers)


@cache
def make_environment() -> Environment:
    """The templates, compiled once for each process."""
    folder = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["static"] = static_address
    environment.filters["day"] = lambda at: f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"
    environment.filters["ago"] = ago
    environment.tests["same_person"] = is_same_person
    # Compiled before somebody asks: the first one would wait for it.
    for name in environment.list_templates():
        environment.get_template(name)
    return environment


def ago(at: datetime, now: datetime) -> str:
    """Age for people: "4 min", "3 h", "12 days"."""
    minutes = max(0, int((now - at).total_seconds() // 60))
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h"
    return f"{minutes // (24 * 60)} days"
