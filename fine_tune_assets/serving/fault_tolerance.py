"""A fault in one thing must not end the others: it is logged, without text, and the next look tries again."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from fine_tune_assets.core.errors import FineTuneError

_log = logging.getLogger(__name__)


@contextmanager
def going_on(doing: str) -> Iterator[None]:
    """A database that is away for a moment, or one deployment that can't be served, must not end the others."""
    try:
        yield
    except (FineTuneError, SQLAlchemyError, OSError) as error:
        _log.error("%s: %s", doing, in_words(error))


def in_words(error: Exception) -> str:
    return str(error) if isinstance(error, FineTuneError) else type(error).__name__
