"""What a page's form sent: read within a limit, as text by name. Uploads and JSON are not read at all."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from starlette.requests import Request

from fine_tune_assets.desk.errors import PageError, too_large

MAX_BODY_BYTES = 2_000_000
_MAX_FIELDS = 200


@dataclass(frozen=True)
class Form:
    """Fields by name. Several values of one name are kept in their order."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Empty if absent. Browsers send line ends as CR LF: here they are LF, as in the drafts."""
        return self.values.get(name, ("",))[0].replace("\r\n", "\n")

    def all(self, name: str) -> tuple[str, ...]:
        return self.values.get(name, ())

    def __repr__(self) -> str:
        """Names only: a repr ends up in logs."""
        return f"Form({', '.join(sorted(self.values))})"


async def read_form(request: Request) -> Form:
    """Raises PageError when the body is too large, or no form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    content = await _read_body(request)
    if not content:
        return Form()
    if kind != "application/x-www-form-urlencoded":
        raise PageError(415, "Not a form", "The desk takes forms only. Nothing was changed.")
    try:
        pairs = parse_qsl(content.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError:
        # Without its cause, which may quote what was typed.
        raise PageError(400, "Not a form", "What was sent can't be read as a form. Nothing was changed.") from None
    values: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        if "\0" in name + value:
            # No browser's field can hold it, and PostgreSQL fails over it.
            raise PageError(400, "Not a form", "What was sent holds a NUL character. Nothing was changed.")
        values[name] = (*values.get(name, ()), value)
    return Form(values)


async def _read_body(request: Request) -> bytes:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY_BYTES:
            raise too_large()
    return bytes(content)
