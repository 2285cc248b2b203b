"""The findings that are checked for negation, and the words that negate, end a negation or make it uncertain.

Cues follow NegEx and ConText (Chapman et al. 2001, Harkema et al. 2009), extended for dialogues and telegraphic notes.
`negations` applies them.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from fine_tune_assets.claims.clinical_lists import clinical_lists
from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.core.word_lists import read_lists, read_variants

_LISTS: Final = {
    name: frozenset(words) for name, words in read_lists(Path(__file__).parent / "reference" / "cues.txt").items()
}
CUES: Final = _LISTS["cues"]
CUE_FOLLOWERS: Final = {"free": ("of", "from"), "absence": ("of",), "negative": ("for", "any")}
"""Words that negate only before these."""
ADJACENT_CUES: Final = _LISTS["adjacent_cues"]
"""Words that negate only a finding directly after them; "non" negates only that one: "non-small cell cancer" is a cancer."""
PSEUDO_CUES: Final = _LISTS["pseudo_cues"]
"""These rarely negate the finding: "I can't stand the pain"."""
CONTRACTION_STEMS: Final = _LISTS["contraction_stems"]
"""The same, as split in transcripts: "ca n't"."""
TERMINATORS: Final = _LISTS["terminators"]
CLAUSE_TERMINATORS: Final = _LISTS["clause_terminators"]
"""Verbs and similar words that end a scope, but not directly after the cue ("has not had any pain")."""
CONJUNCTION_TERMINATORS: Final = _LISTS["conjunction_terminators"]
"""These start a new clause after "and"."""
UNCERTAINTY_CUES: Final = _LISTS["uncertainty_cues"]
"""The rest of the clause is neither asserted nor negated."""
RELATIVES: Final = _LISTS["relatives"]
REPORTING_VERBS: Final = _LISTS["reporting_verbs"]
"""After a relative, these make the relative the informant, not the person with the finding."""
OTHER_WORDS: Final = _LISTS["other_words"]
"""After these, a finding is one of several: someone without other pain may well have pain."""
PRESUPPOSITION_WORDS: Final = _LISTS["presupposition_words"]
"""After these, a finding is presupposed: someone without pills for the cough has the cough."""
NEGATED_FORMS: Final = {
    "nkda": "allergy", "nonsmoker": "smoke", "nontender": "tenderness", "afebrile": "fever", "nondistended": "distension",
    "painless": "pain", "anicteric": "jaundice",
}  # fmt: skip
"""Words that name a finding and negate it."""

_PSEUDO_NEGATIONS = (
    r"\b(?:no|not|without)\s+(?:changes?|increase|only|necessarily|certain|sure|just|improvement|relief|further|longer|more)\b",
    r"\bnot\s+(?:really\s+)?better\b|\bno\s+better\b|\bnot\s+limited\s+to\b|\bgram\s+negative\b",
    r"\bnot\s+(?:been\s+)?(?:ruled\s+out|rule\s+out|able|bad|too\s+bad|as\s+\w+\s+as)\b",
    r"\b(?:do|does|did)(?:\s?n't|\s+not)\s+"
    r"(?:know|remember|recall|help|want|mind|stop|matter|work|go\s+away|relieve|understand|feel\s+well)\b",
    r"\b(?:no|not|n't|(?:do|does|did|have|has|had)n't)\s+(?:\w+\s+)?(?:any\s*)?more\b",
    r"\bnever\b(?=[^.?!\n]{0,40}\b(?:like\s+this|before)\b)",
    r"\b(?:ca\s?n't|can\s?not|could\s?n't)\s+\w+\s+without\b",
    r"\bno(?=\s*,)",  # an answer: a new statement follows
    r"\bno\s+(?=pain\W+(?:and\s+)?(?:ten|10)\b)",  # the end of a scale
    r"\b(?:is|are|do|does|did|have|has|was)\s?n't\s+(?:you|it|this|that|he|she|there)\b|\bdo\s+you\s+not\b",  # a question
    r"\beat\w*\s+(?:and|or)\s+drink\w*",  # no alcohol
    r"\bdrink\w*\s+(?:plenty|lots|more|enough|water|fluids?|milk|coffee|tea|soda|caffeine|ok\w*)\b",
)
PSEUDO_NEGATION: Final = re.compile("|".join(_PSEUDO_NEGATIONS), re.IGNORECASE)
"""Phrases in which such a word negates no finding, or in which a finding's word does not name one."""
POST_NEGATION: Final = compile_bounded(
    r"(?:\s*[:=–-]\s*|\s+(?:is|are|was|were|has\s+been|have\s+been)\s+|\s+)"
    r"(?:none|absent|denied|denies|negative|nil|ruled\s+out"
    r"|not\s+(?:present|noted|seen|appreciated|reported|found|identified|evident)"
    r"|no(?=\s*(?:$|[.,;\n|])))\b|[\s-]+free\b(?!\s+(?:of|from))",
    re.IGNORECASE,
)
"""Phrases that negate the preceding finding: "fever: none"."""
FAMILY_HISTORY: Final = re.compile(
    r"\b(?:in|of)\s+(?:my|your|the|his|her)\s+family\b|\brun(?:s|ning)?\s+in\b", re.IGNORECASE
)
PAST_REFERENCE: Final = re.compile(r"\bbefore\b|\bin\s+the\s+past\b", re.IGNORECASE)
"""Someone without pain before the visit may have it now."""


_FINDING_LISTS: Final = clinical_lists("findings")


def _index_forms(listed: Iterable[str]) -> dict[tuple[str, ...], str]:
    forms: dict[tuple[str, ...], str] = {}
    for name, written in read_variants(listed).items():
        for form in written:
            for spelled in (form, form + "s"):
                forms.setdefault(tuple(spelled.replace("-", " ").split()), name)
    return forms


FINDING_BY_FORM: Final[Mapping[tuple[str, ...], str]] = _index_forms(_FINDING_LISTS["findings"])
"""Words of a form, in lower case → name of the finding."""
LONGEST_FORM_WORDS: Final[Mapping[str, int]] = {
    first: max(len(words) for words in FINDING_BY_FORM if words[0] == first)
    for first in {words[0] for words in FINDING_BY_FORM}
}
"""First word → word count of the longest form that starts with it."""

SITE_BY_FORM: Final[Mapping[str, str]] = {
    " ".join(form): site for form, site in _index_forms(_FINDING_LISTS["body_sites"]).items()
}
"""Spelling of a body site → its name."""
_STOP_WORDS: Final = frozenset(_FINDING_LISTS["empty_words"])


def stem(word: str) -> str:
    """The common part of a word's spellings; the name of a body site, and "" for a function word.

    >>> stem("tummy"), stem("radiating"), stem("radiates"), stem("the")
    ('abdomen', 'radiat', 'radiat', '')
    """
    if len(word) <= 2 or word in _STOP_WORDS:
        return ""
    if word in SITE_BY_FORM:
        return SITE_BY_FORM[word]
    for ending in ("ing", "ed", "es", "s", "ly"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word
