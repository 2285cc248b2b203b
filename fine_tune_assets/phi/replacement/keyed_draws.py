"""Draws that only the holder of the secret key can repeat, and the keyed hashes of values.

Owns the derivation: HMAC-SHA-256 over fields that are told apart by their lengths. A plain hash of a name or a record number
is undone by hashing all names or all numbers; a keyed one is not. Does not know what is drawn.
"""

import hmac
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from fine_tune_assets.core.errors import FineTuneError

FEWEST_KEY_BYTES = 32
"""As many as SHA-256 gives: a shorter key would be the weakest part."""
_MOST_TRIES = 4_000
_LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})

Draws = Callable[[int], int]
IsTaken = Callable[[str], bool]
_T = TypeVar("_T")


class WeakKeyError(FineTuneError):
    """The secret key is too short to be one."""


class NoSurrogateLeftError(FineTuneError):
    """Every surrogate that was tried occurs in the corpus."""


@dataclass(frozen=True, repr=False)
class KeyedSource:
    """Repeatable draws for one purpose: `scope` is the profile, say, and the patient. Raises WeakKeyError."""

    secret: bytes
    scope: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.secret) < FEWEST_KEY_BYTES:
            raise WeakKeyError(
                f"The key has {len(self.secret)} bytes. Surrogates need a secret key of at least {FEWEST_KEY_BYTES} random bytes."
            )

    def draws(self, *fields: str) -> Draws:
        """A function that gives the next number below its argument, without end."""
        numbers = self._numbers(*fields)
        return lambda below: next(numbers) % below

    def _numbers(self, *fields: str) -> Iterator[int]:
        for block in count():
            digest = keyed_digest(self.secret, *self.scope, *fields, str(block))
            for at in range(0, len(digest), 8):
                yield int.from_bytes(digest[at : at + 8], "big")


def pick(draw: Draws, items: Sequence[_T]) -> _T:
    return items[draw(len(items))]


def first_free(kind: str, candidates: Iterator[str], is_unusable: IsTaken) -> str:
    """The first candidate that is usable. Raises NoSurrogateLeftError, which names the kind only."""
    for _, candidate in zip(range(_MOST_TRIES), candidates, strict=False):
        if not is_unusable(candidate):
            return candidate
    raise NoSurrogateLeftError(f"No surrogate of kind {kind} is left that does not occur in the corpus.")


def unusable_for(original: str, is_taken: IsTaken) -> IsTaken:
    """Whether a surrogate is the original itself or occurs in the corpus."""
    return lambda new: normalise(new) == normalise(original) or is_taken(normalise(new))


def keyed_digest(secret: bytes, *fields: str) -> bytes:
    message = b"".join(
        len(f).to_bytes(8, "big") + f for f in (field.encode(errors="surrogatepass") for field in fields)
    )
    return hmac.digest(secret, message, "sha256")


def normalise(value: str) -> str:
    """Letters and digits only, in lower case and without accents: "O’Brien" is "obrien", "558-3920" is "5583920"."""
    plain = unicodedata.normalize("NFKD", value).casefold().translate(_LETTERS)
    return "".join(c for c in unicodedata.normalize("NFKD", plain) if c.isalnum())
