"""The list of medicines: generic and brand names, in small letters. Owns reading it; where it comes from stands beside it."""

from functools import cache
from pathlib import Path

_LIST = Path(__file__).parent / "reference" / "medicines.txt"


@cache
def medicines() -> frozenset[str]:
    return frozenset(_LIST.read_text(encoding="utf-8").split())
