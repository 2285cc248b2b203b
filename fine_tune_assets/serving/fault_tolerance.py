"""Logs a fault without report text instead of raising it, so that it does not stop the supervisor's other work."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from fine_tune_assets.core.errors import FineTuneError

_log = logging.getLogger(__name__)


@contextmanager
def log_and_continue(action: str) -> Iterator[None]:
    """Log expected errors of the block, such as an unreachable database or a deployment that can't be served."""
    try:
        yield
    except (FineTuneError, SQLAlchemyError, OSError) as error:
        _log.error("%s: %s", action, describe_error(error))


def describe_error(error: Exception) -> str:
    return str(error) if isinstance(error, FineTuneError) else type(error).__name__
