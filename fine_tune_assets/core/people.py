"""When two names are one person's. Owns the comparison; who people are and what they may do is the ledger's and the desk's."""

from functools import lru_cache


@lru_cache(maxsize=4096)
def person_key(name: str) -> str:
    """What makes two spellings one name: no case, single spaces.

    >>> person_key("  Ward-Key  A ")
    'ward-key a'
    """
    return " ".join(name.casefold().split())


def is_same_person(first: str, second: str) -> bool:
    """Whether two names are one person's: case and spaces make no other reviewer."""
    return person_key(first) == person_key(second)
