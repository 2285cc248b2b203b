"""Two answers, asked about in both orders: how what came back becomes one probability.

Owns the arithmetic. A small model takes the first answer whatever it says (SmolLM2-135M: 100 % of pairs, none consistent when
swapped), so a single letter is worth nothing. The log-odds of both orders are averaged: a mere liking for a place cancels out,
and `is_consistent` says whether both orders prefer the same answer.
"""

import math
from collections.abc import Mapping, Sequence

from fine_tune_assets.judging.grades import Preference
from fine_tune_assets.judging.rubric import LETTERS

SAMPLES = 5
"""Letters drawn in each order where a server tells no probabilities. More tell finer odds, and cost a reply each."""


def log_odds_of_tokens(first_token: Mapping[str, float]) -> float | None:
    """Log-odds of A against B, from the log-probabilities of the likeliest first tokens; None if neither is among them.

    Of a letter that is not listed only a bound is known, the probability of the last one listed, and that is taken: it makes
    the odds smaller than they are, never larger.
    """
    masses = [_log_mass(first_token, letter) for letter in LETTERS]
    if masses == [None, None]:
        return None
    least = min(first_token.values())
    a, b = (least if mass is None else mass for mass in masses)
    return a - b


def _log_mass(first_token: Mapping[str, float], letter: str) -> float | None:
    found = [value for token, value in first_token.items() if token.strip().upper() == letter]
    if not found:
        return None
    most = max(found)
    return most + math.log(sum(math.exp(value - most) for value in found))


def log_odds_of_samples(letters: Sequence[str]) -> float:
    """Log-odds of A against B, from letters drawn: half a letter is added to each, so that no count says `certainly`."""
    count = sum(letter == LETTERS[0] for letter in letters)
    return math.log((count + 0.5) / (len(letters) - count + 0.5))


def preference(as_given: float | None, swapped: float | None) -> Preference:
    """From the log-odds of A against B in the two orders. A is the first answer as given, and the second one swapped."""
    if as_given is None or swapped is None or not (math.isfinite(as_given) and math.isfinite(swapped)):
        return Preference(None, None, "the judge named no answer in one of the two orders")
    for_first = (as_given, -swapped)
    mean = sum(for_first) / 2
    is_consistent = for_first[0] * for_first[1] > 0
    reason = f"log-odds for the first answer: {for_first[0]:.2f} as given, {for_first[1]:.2f} swapped"
    return Preference(1 / (1 + math.exp(-mean)), is_consistent, reason)
