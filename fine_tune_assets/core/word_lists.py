"""Reads word lists and templates from data files, such as the files of a domain pack (`packs/`).

Each line is an entry. A line `[name]` starts a list, and a line that starts with `# ` is a comment.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

_HEADING = re.compile(r"\[(\w+)\]")


@cache
def read_lists(file: Path) -> Mapping[str, tuple[str, ...]]:
    """List name → entries of a file that does not change while the process runs."""
    return parse_lists(file.read_text(encoding="utf-8"))


def parse_lists(text: str) -> Mapping[str, tuple[str, ...]]:
    """List name → entries in order. Entries before the first heading form the list ""."""
    lists: dict[str, list[str]] = {}
    name = ""
    for line in text.split("\n"):
        if heading := _HEADING.fullmatch(line):
            name = heading[1]
        elif line and not line.startswith("# "):
            lists.setdefault(name, []).append(line)
    return {name: tuple(entries) for name, entries in lists.items()}


def read_variants(entries: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Parse entries such as `name: form, form` into name → forms.

    >>> read_variants(["foot: foot, feet"])
    {'foot': ('foot', 'feet')}
    """
    return {name: tuple(forms.split(", ")) for name, _, forms in (entry.partition(": ") for entry in entries)}
