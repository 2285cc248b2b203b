"""Words and sentences of an answer, as the judge without a model compares them.

Owns cutting texts. Words are those of ROUGE (letters and digits, stems by Porter), so that the figures are comparable.
"""

import re
from collections import Counter
from functools import cache
from typing import Any

_WORD = re.compile(r"[a-z0-9]+")
_LIST_NUMBER = re.compile(r"(?:^|(?<=\s))\d{1,2}[.)]\s+")
_SENTENCE_END = re.compile(r"(?<=[.;!?])\s+|\n+")
_CLAUSE_END = re.compile(r"(?<=[,:])\s+|\band\b", re.IGNORECASE)
_WHOLE = re.compile(r"[.!?)]\s*$")
_COMMON_WORDS = (
    "a about also an and any are as at be been being but by can could did do does for from had has have he her him his i if in"
    " into is it its me mr mrs ms my no not of on or our out patient report reported reports she so some state stated states"
    " than that the their them then there these they this those to up us was we were what when where which who will with"
    " would you your"
)
"""Words that nearly every note holds: covering them says nothing. "No" and "not" are among them, since one too many or too few is
not seen by counting words."""


def rouge_1(reference: str, text: str) -> float:
    """F-measure of shared words, without stems (Lin 2004)."""
    wanted, given = (Counter(_WORD.findall(part.lower())) for part in (reference, text))
    shared = 2 * (wanted & given).total()
    return shared / (wanted.total() + given.total()) if shared else 0.0


def words_of(text: str) -> list[str]:
    """Stems in their order."""
    return [_stem(word) for word in _WORD.findall(text.lower())]


def content_words(words: list[str]) -> list[str]:
    return [word for word in words if word not in _common_stems()]


def sentences_of(text: str) -> list[str]:
    """Sentences, items of lists and lines; none if there is no word in the text.

    >>> sentences_of("1. Anemia. 2. No iron; tired.")
    ['Anemia.', 'No iron;', 'tired.']
    """
    cut = _SENTENCE_END.split(_LIST_NUMBER.sub("\n", text))
    return [piece.strip() for piece in cut if _WORD.search(piece.lower())]


def clauses_of(text: str) -> list[str]:
    """Parts of sentences, cut at commas, colons and "and" as well: about one statement each.

    >>> clauses_of("Denies fever, chills and cough.")
    ['Denies fever,', 'chills', 'cough.']
    """
    pieces = (piece for sentence in sentences_of(text) for piece in _CLAUSE_END.split(sentence))
    return [piece.strip() for piece in pieces if _WORD.search(piece.lower())]


def ends_whole(text: str) -> bool:
    """Whether the text ends as a sentence does: what was cut off at the length limit does not."""
    return _WHOLE.search(text) is not None


@cache
def _stem(word: str) -> str:
    """Of words of more than three letters, as in ROUGE. Stemming is most of the work, and texts repeat their words."""
    return str(_stemmer().stem(word)) if len(word) > 3 else word


@cache
def _common_stems() -> frozenset[str]:
    return frozenset(_stem(word) for word in _COMMON_WORDS.split())


@cache
def _stemmer() -> Any:
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()
