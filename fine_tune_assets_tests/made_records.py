"""Records of tables for tests, of the few values that a test is about."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from fine_tune_assets.tables.columns_in_common import Message
from fine_tune_assets.tables.records import R


def made(kind: type[R], **values: Any) -> R:
    """A record whose other values are absent where they may be; else empty, 0, False or `plain`."""
    return kind(**{**{field.name: _plain(field) for field in kind.SCHEMA}, **values})


def turns(messages: Iterable[dict[str, str]]) -> tuple[Message, ...]:
    """A conversation in OpenAI form, as a table holds it."""
    return tuple(map(Message.of, messages))


def _plain(field: pa.Field) -> Any:
    if field.nullable:
        return None
    if pa.types.is_list(field.type):
        return ()
    if pa.types.is_string(field.type):
        return "plain"
    return False if pa.types.is_boolean(field.type) else 0
