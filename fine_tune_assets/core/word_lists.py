"""Reads word lists and templates from data files, such as the files of a domain pack (`packs/`).

Each line is an entry. A line `[name]` starts a list, and a line that starts with `# ` is a comment.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from fine_tune_assets.core.paths import PACKAGE_DIR

CLINICAL_PACK = PACKAGE_DIR / "packs" / "clinical"
_HEADING = re.compile(r"\[(\w+)\]")


@cache
def read_lists(file: Path) -> Mapping[str, tuple[str, ...]]:
    """List name → entries in the file's order. Entries before the first heading form the list ""."""
    lists: dict[str, list[str]] = {}
    name = ""
    for line in file.read_text(encoding="utf-8").split("\n"):
        if heading := _HEADING.fullmatch(line):
            name = heading[1]
        elif line and not line.startswith("# "):
            lists.setdefault(name, []).append(line)
    return {name: tuple(entries) for name, entries in lists.items()}


def pack_lists(name: str) -> Mapping[str, tuple[str, ...]]:
    """The lists in a file of the clinical pack."""
    return read_lists(CLINICAL_PACK / f"{name}.txt")


def pack_pattern(name: str, entries: str) -> str:
    """One list of the clinical pack as alternatives of a regular expression."""
    return "|".join(pack_lists(name)[entries])


@cache
def pack_words(name: str) -> frozenset[str]:
    """The whitespace-separated words of a file of the clinical pack."""
    return frozenset((CLINICAL_PACK / f"{name}.txt").read_text(encoding="utf-8").split())


def read_variants(entries: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Parse entries such as `name: form, form` into name → forms.

    >>> read_variants(["foot: foot, feet"])
    {'foot': ('foot', 'feet')}
    """
    return {name: tuple(forms.split(", ")) for name, _, forms in (entry.partition(": ") for entry in entries)}
