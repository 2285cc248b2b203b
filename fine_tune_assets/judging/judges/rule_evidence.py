"""Weighs what rules find about a statement against what a reader says: each rule lowers the log-odds of its support.

A rule therefore decides where the reader doubts, and loses against a reader that is sure. The weights come from how often a rule
is right and wrong on statements of unseen notes (docs/decisions/0013-judges.md).
"""

import math
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from fine_tune_assets.claims.bound_values import MEDICINE, SIDE, SITE, find_misbound_values
from fine_tune_assets.claims.grounding_checks import check_answer
from fine_tune_assets.claims.stated_values import VALUE_CHECKS
from fine_tune_assets.judging.judges.answer_features import content_words, stem_words
from fine_tune_assets.judging.judges.verifier.normalized_text import normalize_text

BINDINGS: Final = "bindings"
"""The rule that a value belongs to something else in the record."""
RULE_WEIGHTS: Final = {
    BINDINGS: 3.0,
    "negations": 4.0,
    "dates": 4.0,
    "sides": 4.0,
    "people": 4.0,
    "numbers": 5.0,
    "units": 5.0,
    "durations": 5.0,
    "sites": 5.0,
    "frequencies": 6.0,
    "medications": 6.0,
}
"""Log-odds by which a finding of the rule lowers the support of a statement."""
ABSENT_WORD_WEIGHT: Final = 0.25
"""Log-odds for each content word that the record lacks."""
MAX_ABSENT_WORDS: Final = 4
READER_WEIGHT: Final = 0.5
"""Factor of the reader's own log-odds. The verifier is too sure: on unseen notes, 0.46 is the maximum-likelihood factor."""
WRONG_WORD_EXPONENT: Final = 0.25
"""Power of the probability that no word is wrong, by which the reader's probability is multiplied."""
LEAST_PROBABILITY, GREATEST_PROBABILITY = 1e-5, 0.999
"""Limits of the reader's probability: a rule still counts against a reader that is certain."""
WEIGHING: Final = {
    "version": 1,
    "rules": RULE_WEIGHTS,
    "absent words": [ABSENT_WORD_WEIGHT, MAX_ABSENT_WORDS],
    "reader": [READER_WEIGHT, WRONG_WORD_EXPONENT, LEAST_PROBABILITY, GREATEST_PROBABILITY],
}
"""For the judge's version. Increase the number when a rule changes."""
_NEEDED_CHECKS: Final = {"sites": "sides"}
"""Value check → the check of the domain pack without which it does not apply. The others apply to every domain."""
_KINDS: Final = {SIDE: "sides", SITE: "sides", MEDICINE: "medications"}
"""Kind of bound value → the check of the domain pack without which it does not count."""


@dataclass(frozen=True)
class RuleFindings:
    """What rules find about one statement."""

    rules: tuple[str, ...]
    absent_words: int
    """Content words that the record lacks."""

    @property
    def heaviest(self) -> str:
        """The rule that counts most; empty if none found anything."""
        return max(self.rules, key=lambda name: RULE_WEIGHTS[name], default="")


def find_rule_evidence(
    output: str, record: str, statements: Sequence[str], checks: Collection[str]
) -> list[RuleFindings]:
    """The findings about each statement of `output`. `checks`: those of the domain pack."""
    vetoes = find_vetoes(output, record, statements, checks)
    return [
        RuleFindings(
            (*found, *_check_values(statement, record, checks)),
            len(_content_stems(statement) - _record_stems(record)),
        )
        for statement, found in zip(statements, vetoes, strict=True)
    ]


def find_vetoes(output: str, record: str, statements: Sequence[str], checks: Collection[str]) -> list[tuple[str, ...]]:
    """For each statement of the output, the grounding checks that find something in it."""
    flags = check_answer(output, record, checks)
    return [
        tuple(kind for kind, texts in flags.items() if any(_contains(one, text) for text in texts))
        for one in statements
    ]


def weigh(supported: float, wrong_word: float, found: RuleFindings) -> float:
    """The probability of support, 0 to 1, from a reader's probabilities and the findings of the rules.

    >>> round(weigh(0.5, 0.0, RuleFindings(("numbers",), 0)), 4)
    0.0067
    """
    said = supported * (1 - wrong_word) ** WRONG_WORD_EXPONENT
    kept = min(max(said, LEAST_PROBABILITY), GREATEST_PROBABILITY)
    log_odds = READER_WEIGHT * math.log(kept / (1 - kept)) - sum(RULE_WEIGHTS[name] for name in found.rules)
    log_odds -= ABSENT_WORD_WEIGHT * min(found.absent_words, MAX_ABSENT_WORDS)
    return 1 / (1 + math.exp(-log_odds))


def _check_values(statement: str, record: str, checks: Collection[str]) -> Iterator[str]:
    for name, check in VALUE_CHECKS.items():
        if (name not in _NEEDED_CHECKS or _NEEDED_CHECKS[name] in checks) and check(statement, record):
            yield name
    kinds = [kind for kind, needed in _KINDS.items() if needed in checks]
    if find_misbound_values(statement, record, kinds):
        yield BINDINGS


def _content_stems(text: str) -> frozenset[str]:
    return frozenset(content_words(stem_words(normalize_text(text))))


@lru_cache(256)
def _record_stems(record: str) -> frozenset[str]:
    return frozenset(stem_words(normalize_text(record)))


def _contains(statement: str, flagged: str) -> bool:
    """Whether the flagged words are in the statement, and not as a part of a longer word or number."""
    pattern = rf"(?<![\w.,]){re.escape(' '.join(flagged.split()))}(?!\w)"
    return re.search(pattern, " ".join(statement.split()), re.IGNORECASE) is not None
