"""The desk's own styles, scripts and pictures. Owns which files there are: whatever is not listed does not exist."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from starlette.responses import Response

from fine_tune_assets.core.fingerprints import fingerprint_bytes
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
