"""Word lists and templates that are kept as data files, among them those of a domain (`packs/`).

A file holds one entry a line. `[name]` alone on a line starts a list, and a line that begins with `# ` is a comment.
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
    """Name of each list → its entries in the file's order. Entries above the first heading are the list ""."""
    lists: dict[str, list[str]] = {}
    name = ""
    for line in file.read_text(encoding="utf-8").split("\n"):
        if heading := _HEADING.fullmatch(line):
            name = heading[1]
        elif line and not line.startswith("# "):
            lists.setdefault(name, []).append(line)
    return {name: tuple(entries) for name, entries in lists.items()}


def pack_lists(name: str) -> Mapping[str, tuple[str, ...]]:
    """The lists of a file of the clinical domain pack."""
    return read_lists(CLINICAL_PACK / f"{name}.txt")


@cache
def pack_words(name: str) -> frozenset[str]:
    """The words of a file of the clinical domain pack that is one list, its words separated by white space."""
    return frozenset((CLINICAL_PACK / f"{name}.txt").read_text(encoding="utf-8").split())


def read_variants(entries: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Name → its forms, of entries such as `name: form, form`.

    >>> read_variants(["foot: foot, feet"])
    {'foot': ('foot', 'feet')}
    """
    return {name: tuple(forms.split(", ")) for name, _, forms in (entry.partition(": ") for entry in entries)}
