"""Repeatable pseudo-random draws and hashes of values, both keyed with the installation's secret.

Uses HMAC-SHA-256 over length-prefixed fields. A plain hash of a name or record number can be reversed by hashing all names or
numbers; a keyed hash cannot.
"""

import hmac
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from fine_tune_assets.core.errors import FineTuneError

MIN_KEY_BYTES = 32
"""The size of a SHA-256 digest: a shorter key would be the weakest part."""
_MAX_ATTEMPTS = 4_000
_LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})

Draw = Callable[[int], int]
IsTaken = Callable[[str], bool]
_T = TypeVar("_T")


class WeakKeyError(FineTuneError):
    """The secret key is too short."""


class SurrogatesExhaustedError(FineTuneError):
    """Every candidate surrogate occurs in the corpus."""


@dataclass(frozen=True, repr=False)
class KeyedSource:
    """Repeatable draws for one purpose; `scope` is, for example, the profile and the subject. Raises WeakKeyError."""

    secret: bytes
    scope: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.secret) < MIN_KEY_BYTES:
            raise WeakKeyError(
                f"The key has {len(self.secret)} bytes. Surrogates require a secret key of at least {MIN_KEY_BYTES} random bytes."
            )

    def make_draw(self, *fields: str) -> Draw:
        """A function that returns the next number below its argument, without end."""
        numbers = self._generate_numbers(*fields)
        return lambda below: next(numbers) % below

    def _generate_numbers(self, *fields: str) -> Iterator[int]:
        for block in count():
            digest = keyed_digest(self.secret, *self.scope, *fields, str(block))
            for at in range(0, len(digest), 8):
                yield int.from_bytes(digest[at : at + 8], "big")


def pick(draw: Draw, items: Sequence[_T]) -> _T:
    return items[draw(len(items))]


def pick_unused(kind: str, candidates: Iterator[str], is_unusable: IsTaken) -> str:
    """The first usable candidate. Raises SurrogatesExhaustedError, which names only the kind."""
    for _, candidate in zip(range(_MAX_ATTEMPTS), candidates, strict=False):
        if not is_unusable(candidate):
            return candidate
    raise SurrogatesExhaustedError(f"All {_MAX_ATTEMPTS} candidate surrogates of kind {kind} occur in the corpus.")


def build_unusable_check(original: str, is_taken: IsTaken) -> IsTaken:
    """A check for surrogates that equal the original or occur in the corpus."""
    return lambda new: normalize(new) == normalize(original) or is_taken(normalize(new))


def keyed_digest(secret: bytes, *fields: str) -> bytes:
    message = b"".join(
        len(f).to_bytes(8, "big") + f for f in (field.encode(errors="surrogatepass") for field in fields)
    )
    return hmac.digest(secret, message, "sha256")


def normalize(value: str) -> str:
    """Letters and digits only, in lower case and without accents: "O’Brien" → "obrien", "558-3920" → "5583920"."""
    plain = unicodedata.normalize("NFKD", value).casefold().translate(_LETTERS)
    return "".join(c for c in unicodedata.normalize("NFKD", plain) if c.isalnum())
