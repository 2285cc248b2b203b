"""The words that negate a finding, those that end what a word negates, and those that leave it open.

Owns the lists, after NegEx and ConText (Chapman et al. 2001, Harkema et al. 2009), with what dialogues and telegraphic notes
add. Does not know where a word stands.
"""

import re
from typing import Final


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


CUES: Final = _words(
    "no not nil without w/o never none denies denied deny denying nor neither nope lack lacks lacking nothing"
)
NEXT_OF_CUE: Final = {"free": ("of", "from"), "absence": ("of",), "negative": ("for", "any")}
"""Words that negate only before these."""
CUES_BESIDE: Final = _words("non negative")
"""Words that negate only when a finding stands right behind them, "non" only that one: "non-small cell cancer" is a cancer."""
NO_CUES: Final = _words("can't couldn't won't wouldn't shouldn't ain't")
"""What these negate is seldom the finding: "I can't stand the pain"."""
HALVES: Final = _words("ca could wo would should ai")
"""The same, as a transcript cuts it: "ca n't"."""
ENDS: Final = _words(
    "but however except although though apart aside besides because still yet until since cause causes due secondary okay ok "
    "alright then so which if should"
)
CLAUSE_ENDS: Final = _words(
    "presents reports complains has have had is are was were there there's states positive admits he she they i it i'm you "
    "you're who when just only"
)
"""Verbs and the like: they end a scope, but not right behind the cue ("has not had any pain")."""
AND_ENDS: Final = _words(
    "i he she they it you we had has have is was are were felt feels feel appeared developed noticed reports states then now "
    "so there your his her"
)
"""Behind "and" a new clause begins with these."""
DOUBTS: Final = _words(
    "if should whether any risk could may might would r/o rule watch monitor quit quitting stopped former ex prevent avoid "
    "call evaluate check checked test tests tested trying try wish hope goal"
)
"""What follows in the clause is neither asserted nor negated."""
FAMILY: Final = _words(
    "family mother father brother sister mom dad grandmother grandfather wife husband daughter son parents siblings uncle aunt "
    "cousin mother's father's maternal paternal fh"
)
TELLS: Final = _words("denies denied reports reported states stated says said notes noted thinks feels")
"""Behind a relative these make them the one who tells, not the one who has it."""
OTHERS: Final = _words("other others else first second third worst worse new additional scale")
"""Behind these a finding is one of several: who has no other pain may well have pain."""
GIVEN: Final = _words("the your this that my same initial still continuing ongoing besides for from")
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
