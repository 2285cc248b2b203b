"""Measures agreement of independent reviewers: raw agreement and Cohen's kappa, with 95 % intervals.

Cohen, J. (1960), Educational and Psychological Measurement 20, 37-46. The interval is the Wilson interval of the raw agreement on
the scale of kappa, treating chance agreement as known: Cohen's large-sample interval, but valid for few pairs that all agree.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fine_tune_assets.approval.approvals import EXPERT
from fine_tune_assets.core.people import is_same_person, person_key
from fine_tune_assets.core.proportions import wilson_interval
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.decision_records import DecisionSummary, list_shared_decisions
from fine_tune_assets.recipes.schema import ReviewSettings

Category = Literal["approve", "repaired", "reject"]


@dataclass(frozen=True)
class DecisionPair:
    """The first decisions of two people about the same content."""

    task: str
    first: str
    """Name of the reviewer who decided first."""
    second: str
    first_category: Category
    second_category: Category


@dataclass(frozen=True)
class Agreement:
    pairs: int
    raw: float | None
    """Share of pairs in the same category; None without pairs."""
    raw_low: float | None
    raw_high: float | None
    kappa: float | None
    """-1 to 1; None if undefined."""
    kappa_low: float | None
    kappa_high: float | None
    reason: str
    """Why kappa is undefined; empty otherwise."""


@dataclass(frozen=True)
class AgreementSummary:
    overall: Agreement
    by_task: dict[str, Agreement]
    by_reviewer: dict[str, Agreement]
    """Each reviewer against all others who decided on the same examples."""
    by_pair: dict[tuple[str, str], Agreement]


@dataclass(frozen=True)
class AgreementResult:
    is_passed: bool
    reason: str


def read_agreement(ledger: Ledger) -> AgreementSummary:
    """Agreement over all decisions in the ledger, as used by the gate, pages and commands."""
    return summarize_agreement(pair_decisions(list_shared_decisions(ledger)))


def count_expert_examples(approved: pa.Table) -> int:
    """Number of `approved_examples` that experts approved."""
    return int(pc.sum(pc.equal(approved.column("approval_kind"), EXPERT)).as_py() or 0)


def count_stored_expert_examples(approved_examples: Path) -> int:
    """The same from the table's file; 0 if it does not exist."""
    if not approved_examples.is_file():
        return 0
    return count_expert_examples(pq.read_table(approved_examples, columns=["approval_kind"], partitioning=None))


def describe_floor(rules: ReviewSettings) -> str:
    """The requirement of the gate, in words."""
    if rules.agreement_floor is None:
        return "The recipe sets no floor (review.agreement_floor), so the gate does not check agreement."
    return f"The gate requires a kappa of at least {rules.agreement_floor:g} over at least {rules.minimum_pairs} pairs."


def pair_decisions(decisions: Iterable[DecisionSummary]) -> list[DecisionPair]:
    """A pair for each content that a second person reviewed while the first decision was active; excludes adjudications.

    First decisions count even if revoked later: people who know the other decision must not improve agreement by deciding again.
    Pairs with both decisions revoked are excluded. `decisions` are in order of time.
    """
    by_content: dict[str, list[DecisionSummary]] = {}
    for decision in decisions:
        if decision.role == "review":
            by_content.setdefault(decision.fingerprint, []).append(decision)
    found = (_first_pair(reviews) for reviews in by_content.values())
    return [
        _make_pair(*two) for two in found if two is not None and any(decision.revoked_at is None for decision in two)
    ]


def summarize_agreement(pairs: Sequence[DecisionPair]) -> AgreementSummary:
    """Agreement overall, by task, by reviewer and by pair of reviewers. Spelling variants of a name are one reviewer."""
    # Equal pairs are counted first and processed once.
    counts = Counter(pairs)
    names = {person_key(name): name for pair in counts for name in (pair.second, pair.first)}

    def grouped(keys_of: Callable[[DecisionPair], Iterable[tuple[Any, bool]]]) -> dict[Any, Agreement]:
        groups: dict[Any, Counter[tuple[Category, Category]]] = {}
        for pair, count in counts.items():
            for key, is_turned in keys_of(pair):
                groups.setdefault(key, Counter())[_categories(pair, is_turned)] += count
        return {key: compute_agreement(groups[key]) for key in sorted(groups)}

    by_pair = grouped(
        lambda pair: [(tuple(sorted(_reviewer_keys(pair))), _reviewer_keys(pair)[0] > _reviewer_keys(pair)[1])]
    )
    by_reviewer = grouped(lambda pair: zip(_reviewer_keys(pair), (False, True), strict=True))
    return AgreementSummary(
        overall=compute_agreement(_categories(pair, False) for pair in pairs),
        by_task=grouped(lambda pair: [(pair.task, False)]),
        by_reviewer={names[key]: found for key, found in by_reviewer.items()},
        by_pair={(names[one], names[other]): found for (one, other), found in by_pair.items()},
    )


def compute_agreement(pairs: Iterable[tuple[str, str]] | Mapping[tuple[str, str], int]) -> Agreement:
    """Raw agreement and Cohen's kappa of pairs of categories, or of counts of pairs.

    >>> round(compute_agreement([("a", "a")] * 20 + [("a", "b")] * 5 + [("b", "a")] * 10 + [("b", "b")] * 15).kappa, 3)
    0.4
    """
    counts = Counter(pairs)
    count = counts.total()
    if not count:
        return Agreement(0, None, None, None, None, None, None, "no example was decided by two people")
    alike = sum(number for (one, other), number in counts.items() if one == other)
    ones, others = Counter[str](), Counter[str]()
    for (one, other), number in counts.items():
        ones[one] += number
        others[other] += number
    chance = sum(ones[category] * others[category] for category in ones) / count**2
    raw, (low, high) = alike / count, wilson_interval(alike, count)
    if chance == 1:
        reason = "all decisions are in one category, so kappa is undefined"
        return Agreement(count, raw, low, high, None, None, None, reason)
    kappa, kappa_low, kappa_high = ((share - chance) / (1 - chance) for share in (raw, low, high))
    return Agreement(count, raw, low, high, kappa, max(-1.0, kappa_low), min(1.0, kappa_high), "")


def evaluate_agreement(overall: Agreement, rules: ReviewSettings, expert_examples: int) -> AgreementResult:
    """Whether agreement meets the floor. Too few pairs count as a failure.

    Passes without a floor, and if no example depends on an expert's decision.
    """
    floor = rules.agreement_floor
    if floor is None:
        return AgreementResult(True, "The recipe sets no floor; agreement is only reported.")
    if expert_examples == 0:
        return AgreementResult(True, "No example depends on a reviewer's decision.")
    if rules.reviewers == 1:
        return AgreementResult(False, "The recipe requires agreement but only one reviewer. Set review.reviewers to 2.")
    if overall.pairs < rules.minimum_pairs:
        missing = rules.minimum_pairs - overall.pairs
        return AgreementResult(
            False, f"{overall.pairs} examples were decided by two people; {missing} more are needed."
        )
    if overall.kappa is None:
        return AgreementResult(False, f"Kappa is undefined: {overall.reason}.")
    comparison = "meets" if overall.kappa >= floor else "is below"
    return AgreementResult(overall.kappa >= floor, f"Kappa {overall.kappa:.3f} {comparison} the floor of {floor:g}.")


def _first_pair(words: Sequence[DecisionSummary]) -> tuple[DecisionSummary, DecisionSummary] | None:
    first: DecisionSummary | None = None
    for word in words:
        if first is None or (first.revoked_at is not None and first.revoked_at <= word.decided_at):
            first = word
        elif not is_same_person(first.reviewer, word.reviewer):
            return first, word
    return None


def _make_pair(first: DecisionSummary, second: DecisionSummary) -> DecisionPair:
    return DecisionPair(first.task, first.reviewer, second.reviewer, _categorize(first), _categorize(second))


def _categorize(word: DecisionSummary) -> Category:
    if word.decision == "reject":
        return "reject"
    return "repaired" if word.is_repaired else "approve"


def _reviewer_keys(pair: DecisionPair) -> tuple[str, str]:
    return person_key(pair.first), person_key(pair.second)


def _categories(pair: DecisionPair, is_turned: bool) -> tuple[Category, Category]:
    both = pair.first_category, pair.second_category
    return (both[1], both[0]) if is_turned else both
