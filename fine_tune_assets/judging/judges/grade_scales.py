"""Turns the probabilities of statements, and the form of an answer, into grades from 1 to 10."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from fine_tune_assets.judging.judges.answer_features import has_complete_ending, split_sentences
from fine_tune_assets.judging.judges.grades import MAX_SCORE, MIN_SCORE, CheckedStatement, Criterion

SCALES_VERSION: Final = 3
"""Increase it when a grade changes for the same probabilities."""
DOUBTFUL_BELOW: Final = 0.1
"""Probability below which a statement is named as doubtful in the reason of a grade."""
SUPPORT_EXPONENT: Final = 0.12
"""Support is the probability to this power, so that 1 % and 2 % differ as 50 % and 100 % do. Chosen, like the next share, on the
half of the rated dialogues that fitted the weights."""
WORST_SHARE: Final = 0.9
"""Share of the worst statement in the grade. The rest falls with the sum of the losses, so a further false statement never raises
the grade, as it can raise a mean."""
FOUND_FROM: Final = 0.5
"""Probability from which a statement of the reference counts as found in the answer."""
LENGTH_RATIOS: Final = (0.5, 2.0)
"""Words of the answer per word of the reference without a loss of form."""


def grade_statements(statements: Sequence[CheckedStatement]) -> Criterion | None:
    """Factual accuracy: the worst statement, and the sum of what all lose; None without a statement."""
    if not statements:
        return None
    support = [one.probability**SUPPORT_EXPONENT for one in statements]
    losses = sum(1 - one for one in support)
    score = _scale(WORST_SHARE * min(support) + (1 - WORST_SHARE) / (1 + losses))
    doubtful = sum(one.probability < DOUBTFUL_BELOW for one in statements)
    return Criterion(
        score, f"{doubtful} of {len(statements)} statements are doubtful (probability below {DOUBTFUL_BELOW:.0%})"
    )


def grade_completeness(
    wanted: Sequence[CheckedStatement], overlap: float | None, weights: Mapping[str, float]
) -> Criterion | None:
    """Completeness: how far the answer supports the reference's statements, with word overlap where it is known.

    `weights`: of the members in `completeness_parts`.
    """
    parts = completeness_parts(wanted, overlap)
    total = sum(weights[name] for name in parts)
    score = sum(weights[name] * grade for name, grade in parts.items()) / total if total else parts["least"]
    found = sum(one.probability >= FOUND_FROM for one in wanted)
    return Criterion(round(score, 2), f"{found} of {len(wanted)} statements of the reference are in the answer")


def completeness_parts(wanted: Sequence[CheckedStatement], overlap: float | None) -> dict[str, float]:
    """Member → grade: word overlap (`formula`), the least and the mean support of the reference's statements."""
    probabilities = [one.probability for one in wanted]
    parts = {"least": _scale(min(probabilities)), "mean": _scale(float(np.mean(probabilities)))}
    return parts if overlap is None else {"formula": overlap, **parts}


def grade_form(output: str, reference: str | None) -> Criterion | None:
    """Form: a complete ending, and about the length of the reference; None without a reference to compare with."""
    if not split_sentences(output):
        return Criterion(MIN_SCORE, "the answer has no words")
    if not reference or not split_sentences(reference):
        return None
    faults = [] if has_complete_ending(output) or not has_complete_ending(reference) else ["it ends in the middle"]
    ratio = len(output.split()) / len(reference.split())
    if not LENGTH_RATIOS[0] <= ratio <= LENGTH_RATIOS[1]:
        faults.append(f"it has {ratio:.1f} times as many words as the reference")
    score = MAX_SCORE - (MAX_SCORE - MIN_SCORE) / 2 * len(faults)
    return Criterion(score, ", ".join(faults) or "complete, with about the length of the reference")


def _scale(share: float) -> float:
    return round(MIN_SCORE + (MAX_SCORE - MIN_SCORE) * share, 2)
