"""When two names are one person's. Owns the comparison; who people are and what they may do is the ledger's and the desk's.

Databases fold names each in their own way (SQLite only ASCII), so names are never compared in SQL.
"""

import unicodedata
from functools import lru_cache


@lru_cache(maxsize=4096)
def person_key(name: str) -> str:
    """What makes two spellings one name: no case, one way to write a letter, nothing that can't be seen, single spaces.

    >>> person_key("  Ward-Key  A ")
    'ward-key a'
    >>> person_key("ZOE\u0308 STRASSE") == person_key("Zo\u00eb Straße")
    True
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join("".join(c for c in folded if unicodedata.category(c) != "Cf").split())


def is_same_person(first: str, second: str) -> bool:
    """Whether two names are one person's: case, spaces and the way a letter is stored make no other reviewer."""
    return person_key(first) == person_key(second)
