"""Table records built from the few values that a test needs."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from fine_tune_assets.tables.common_columns import Message
from fine_tune_assets.tables.record_classes import RecordT


def made(kind: type[RecordT], /, **values: Any) -> RecordT:
    """A record whose other values are None if optional; otherwise empty, 0, False or `plain`."""
    return kind(**{**{field.name: _plain(field) for field in kind.SCHEMA}, **values})


def turns(messages: Iterable[dict[str, str]]) -> tuple[Message, ...]:
    """A conversation in OpenAI form, as stored in a table."""
    return tuple(map(Message.from_row, messages))


def _plain(field: pa.Field) -> Any:
    if field.nullable:
        return None
    if pa.types.is_list(field.type):
        return ()
    if pa.types.is_string(field.type):
        return "plain"
    return False if pa.types.is_boolean(field.type) else 0
