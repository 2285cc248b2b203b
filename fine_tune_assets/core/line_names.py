"""Names of product lines, the line that a process or request works on, and its name in hints.

Imports nothing of the project, because the command line reads it at each start.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LINE_VARIABLE = "FINE_TUNE_LINE"
"""Environment variable with the line that a process works on; empty: the main line."""
MAIN_LINE = "main"
LINE_FILE = "line.yaml"
"""In the line's folder."""
LINE_NAME = re.compile(r"(?!(?:main|live|recipe)$)[a-z][a-z0-9_]{1,19}")
"""A name is part of asset keys, folders and model names. `main` is the installation's own line, `live` a
model name, and keys of the main line start with `recipe`."""

_line_in_use: ContextVar[str | None] = ContextVar("_line_in_use", default=None)
_HINT = re.compile(r"(?:(?<=`)|(?<=<code>))fine-tune (?!--line )(?=(?P<command>[a-z]+))")
_INSTALLATION_COMMANDS = frozenset({"lines", "up", "down", "demo", "completion"})
"""Commands that concern all lines, or services that lines share."""


@contextmanager
def use_line(line: str) -> Iterator[None]:
    """Name this line in the hints of this task and the threads that it starts: for a service of several lines."""
    token = _line_in_use.set(line)
    try:
        yield
    finally:
        _line_in_use.reset(token)


def name_line(text: str) -> str:
    """The text with the product line in each command that it quotes; unchanged in the main line.

    Without it, a command is run on the main line. Apply it where a text is shown to a person, never to the text of a report.

    >>> with use_line("law"):
    ...     name_line("Run `fine-tune review list`, then `fine-tune up`.")
    'Run `fine-tune --line law review list`, then `fine-tune --line main up`.'
    """
    in_use = _line_in_use.get()
    line = os.environ.get(LINE_VARIABLE, "") if in_use is None else in_use
    if not line:
        return text
    return _HINT.sub(
        lambda hint: f"fine-tune --line {MAIN_LINE if hint['command'] in _INSTALLATION_COMMANDS else line} ", text
    )
