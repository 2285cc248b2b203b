"""The findings whose negation is looked at, and the words that negate, end a negation or leave it open.

Cues follow NegEx and ConText (Chapman et al. 2001, Harkema et al. 2009), with what dialogues and telegraphic notes add. Which
finding is negated where is read in `mentions`.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from fine_tune_assets.core.word_lists import pack_lists, read_lists, read_variants

_LISTS: Final = {
    name: frozenset(words) for name, words in read_lists(Path(__file__).parent / "reference" / "cues.txt").items()
}
CUES: Final = _LISTS["cues"]
NEXT_OF_CUE: Final = {"free": ("of", "from"), "absence": ("of",), "negative": ("for", "any")}
"""Words that negate only before these."""
CUES_BESIDE: Final = _LISTS["cues_beside"]
"""Words that negate only when a finding stands right behind them, "non" only that one: "non-small cell cancer" is a cancer."""
NO_CUES: Final = _LISTS["no_cues"]
"""What these negate is seldom the finding: "I can't stand the pain"."""
HALVES: Final = _LISTS["halves"]
"""The same, as a transcript cuts it: "ca n't"."""
ENDS: Final = _LISTS["ends"]
CLAUSE_ENDS: Final = _LISTS["clause_ends"]
"""Verbs and the like: they end a scope, but not right behind the cue ("has not had any pain")."""
AND_ENDS: Final = _LISTS["and_ends"]
"""Behind "and" a new clause begins with these."""
DOUBTS: Final = _LISTS["doubts"]
"""What follows in the clause is neither asserted nor negated."""
FAMILY: Final = _LISTS["family"]
TELLS: Final = _LISTS["tells"]
"""Behind a relative these make them the one who tells, not the one who has it."""
OTHERS: Final = _LISTS["others"]
"""Behind these a finding is one of several: who has no other pain may well have pain."""
GIVEN: Final = _LISTS["given"]
"""Behind these a finding is taken for granted: who has no pills for the cough has the cough."""
NEGATED_FORMS: Final = {
    "nkda": "allergy", "nonsmoker": "smoke", "nontender": "tenderness", "afebrile": "fever", "nondistended": "distension",
    "painless": "pain", "anicteric": "jaundice",
}  # fmt: skip
"""Words that name a finding and negate it."""

_NEVER_A_CUE = (
    r"\b(?:no|not|without)\s+(?:changes?|increase|only|necessarily|certain|sure|just|improvement|relief|further|longer|more)\b",
    r"\bnot\s+(?:really\s+)?better\b|\bno\s+better\b|\bnot\s+limited\s+to\b|\bgram\s+negative\b",
    r"\bnot\s+(?:been\s+)?(?:ruled\s+out|rule\s+out|able|bad|too\s+bad|as\s+\w+\s+as)\b",
    r"\b(?:do|does|did)(?:\s?n't|\s+not)\s+"
    r"(?:know|remember|recall|help|want|mind|stop|matter|work|go\s+away|relieve|understand|feel\s+well)\b",
    r"\b(?:no|not|n't|(?:do|does|did|have|has|had)n't)\s+(?:\w+\s+)?(?:any\s*)?more\b",
    r"\bnever\b(?=[^.?!\n]{0,40}\b(?:like\s+this|before)\b)",
    r"\b(?:ca\s?n't|can\s?not|could\s?n't)\s+\w+\s+without\b",
    r"\bno(?=\s*,)",  # an answer: what follows is told anew
    r"\bno\s+(?=pain\W+(?:and\s+)?(?:ten|10)\b)",  # the end of a scale
    r"\b(?:is|are|do|does|did|have|has|was)\s?n't\s+(?:you|it|this|that|he|she|there)\b|\bdo\s+you\s+not\b",  # asks
    r"\beat\w*\s+(?:and|or)\s+drink\w*",  # no alcohol
    r"\bdrink\w*\s+(?:plenty|lots|more|enough|water|fluids?|milk|coffee|tea|soda|caffeine|ok\w*)\b",
)
NEVER_A_CUE: Final = re.compile("|".join(_NEVER_A_CUE), re.IGNORECASE)
"""Phrases in which such a word negates no finding, or one names none."""
NEGATED_BEHIND: Final = re.compile(
    r"(?:\s*[:=–-]\s*|\s+(?:is|are|was|were|has\s+been|have\s+been)\s+|\s+)"
    r"(?:none|absent|denied|denies|negative|nil|ruled\s+out"
    r"|not\s+(?:present|noted|seen|appreciated|reported|found|identified|evident)"
    r"|no(?=\s*(?:$|[.,;\n|])))\b|[\s-]+free\b(?!\s+(?:of|from))",
    re.IGNORECASE,
)
"""What negates a finding from behind: "fever: none"."""
IN_THE_FAMILY: Final = re.compile(
    r"\b(?:in|of)\s+(?:my|your|the|his|her)\s+family\b|\brun(?:s|ning)?\s+in\b", re.IGNORECASE
)
EVER_BEFORE: Final = re.compile(r"\bbefore\b|\bin\s+the\s+past\b", re.IGNORECASE)
"""Who had no pain before the visit may have it now."""


_FINDING_LISTS: Final = pack_lists("findings")


def _forms(listed: Iterable[str]) -> dict[tuple[str, ...], str]:
    forms: dict[tuple[str, ...], str] = {}
    for name, written in read_variants(listed).items():
        for form in written:
            for spelled in (form, form + "s"):
                forms.setdefault(tuple(spelled.replace("-", " ").split()), name)
    return forms


FINDING_OF: Final[Mapping[tuple[str, ...], str]] = _forms(_FINDING_LISTS["findings"])
"""The words of a form, in lower case, → what the finding is called."""
LONGEST_FORM: Final[Mapping[str, int]] = {
    first: max(len(words) for words in FINDING_OF if words[0] == first) for first in {words[0] for words in FINDING_OF}
}
"""First word → words of the longest form that begins with it."""

SITE_OF: Final[Mapping[str, str]] = {
    " ".join(form): site for form, site in _forms(_FINDING_LISTS["body_sites"]).items()
}
"""How a body site is written → what it is called."""
_EMPTY: Final = frozenset(_FINDING_LISTS["empty_words"])


def stem(word: str) -> str:
    """What two spellings of a word share; a body site by its name, and nothing for a word that says nothing.

    >>> stem("tummy"), stem("radiating"), stem("radiates"), stem("the")
    ('abdomen', 'radiat', 'radiat', '')
    """
    if len(word) <= 2 or word in _EMPTY:
        return ""
    if word in SITE_OF:
        return SITE_OF[word]
    for ending in ("ing", "ed", "es", "s", "ly"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word
