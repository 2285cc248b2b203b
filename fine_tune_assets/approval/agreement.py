"""How well two reviewers agree who did not know of each other: raw agreement and Cohen's kappa, with 95 % intervals.

Owns which decisions make a pair, the figures, and when they are no evidence. Cohen, J. (1960), Educational and Psychological
Measurement 20, 37-46. The interval is the Wilson interval of the raw agreement on the scale of kappa, with chance agreement
taken as known: Cohen's own large-sample interval, but one that stays sensible where few pairs all agree.
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
from fine_tune_assets.ledger.reviews.reviews import ReviewWord, words_on_shared_contents
from fine_tune_assets.recipes.schema import ReviewSettings

Category = Literal["approve", "repaired", "reject"]


@dataclass(frozen=True)
class Pair:
    """What two people said of the same content, each for the first time."""

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
    """-1 to 1; None where it is not defined."""
    low: float | None
    high: float | None
    reason: str
    """Why there is no kappa; empty where there is one."""


@dataclass(frozen=True)
class AgreementReport:
    overall: Agreement
    by_task: dict[str, Agreement]
    by_reviewer: dict[str, Agreement]
    """Each reviewer against whoever else decided on the same examples."""
    by_pair: dict[tuple[str, str], Agreement]


@dataclass(frozen=True)
class AgreementVerdict:
    passed: bool
    reason: str


def measured(ledger: Ledger) -> AgreementReport:
    """The agreement of all decisions in the ledger: what the gate judges and what every page and command shows."""
    return measure(pairs_of(words_on_shared_contents(ledger)))


def count_expert_examples(approved: pa.Table) -> int:
    """How many `approved_examples` rest on experts' decisions."""
    return int(pc.sum(pc.equal(approved.column("approval_kind"), EXPERT)).as_py() or 0)


def count_stored_expert_examples(approved_examples: Path) -> int:
    """The same of the table's file; none while there is no table."""
    if not approved_examples.is_file():
        return 0
    return count_expert_examples(pq.read_table(approved_examples, columns=["approval_kind"], partitioning=None))


def floor_in_words(rules: ReviewSettings) -> str:
    """What the gate asks for."""
    if rules.agreement_floor is None:
        return "The recipe sets no floor (review.agreement_floor): the gate asks for no agreement."
    return f"The gate asks for a kappa of at least {rules.agreement_floor:g} over at least {rules.minimum_pairs} pairs."


def pairs_of(words: Iterable[ReviewWord]) -> list[Pair]:
    """A pair for each content of which a second person spoke while a first one's word stood; adjudications are none.

    Their first words count, also if one of them is revoked later: who has seen the other's must not better the figure by
    deciding again. What both took back is left out. `words` in the order of time.
    """
    by_content: dict[str, list[ReviewWord]] = {}
    for word in words:
        if word.role == "review":
            by_content.setdefault(word.fingerprint, []).append(word)
    found = (_first_pair(said) for said in by_content.values())
    return [_pair(*two) for two in found if two is not None and any(word.revoked_at is None for word in two)]


def measure(pairs: Sequence[Pair]) -> AgreementReport:
    """Agreement of all pairs, of each task, of each reviewer and of each two reviewers. Names differ by more than case."""
    # Many pairs are alike: each kind of pair is looked at once.
    counts = Counter(pairs)
    names = {person_key(name): name for pair in counts for name in (pair.second, pair.first)}

    def grouped(keys_of: Callable[[Pair], Iterable[tuple[Any, bool]]]) -> dict[Any, Agreement]:
        groups: dict[Any, Counter[tuple[Category, Category]]] = {}
        for pair, count in counts.items():
            for key, is_turned in keys_of(pair):
                groups.setdefault(key, Counter())[_categories(pair, is_turned)] += count
        return {key: agreement_of(groups[key]) for key in sorted(groups)}

    by_pair = grouped(lambda pair: [(tuple(sorted(_people(pair))), _people(pair)[0] > _people(pair)[1])])
    by_reviewer = grouped(lambda pair: zip(_people(pair), (False, True), strict=True))
    return AgreementReport(
        overall=agreement_of(_categories(pair, False) for pair in pairs),
        by_task=grouped(lambda pair: [(pair.task, False)]),
        by_reviewer={names[key]: found for key, found in by_reviewer.items()},
        by_pair={(names[one], names[other]): found for (one, other), found in by_pair.items()},
    )


def agreement_of(pairs: Iterable[tuple[str, str]] | Mapping[tuple[str, str], int]) -> Agreement:
    """Raw agreement and Cohen's kappa of pairs of categories, each as the one and the other reviewer gave it; or of how often
    each pair occurs.

    >>> round(agreement_of([("a", "a")] * 20 + [("a", "b")] * 5 + [("b", "a")] * 10 + [("b", "b")] * 15).kappa, 3)
    0.4
    """
    counts = Counter(pairs)
    count = counts.total()
    if not count:
        return Agreement(0, None, None, None, None, None, None, "nothing was decided by two people")
    alike = sum(number for (one, other), number in counts.items() if one == other)
    ones, others = Counter[str](), Counter[str]()
    for (one, other), number in counts.items():
        ones[one] += number
        others[other] += number
    chance = sum(ones[category] * others[category] for category in ones) / count**2
    raw, (low, high) = alike / count, wilson_interval(alike, count)
    if chance == 1:
        reason = "all decisions are in one category: agreement can't be told from chance"
        return Agreement(count, raw, low, high, None, None, None, reason)
    kappa, kappa_low, kappa_high = ((share - chance) / (1 - chance) for share in (raw, low, high))
    return Agreement(count, raw, low, high, kappa, max(-1.0, kappa_low), min(1.0, kappa_high), "")


def judge_agreement(overall: Agreement, rules: ReviewSettings, expert_examples: int) -> AgreementVerdict:
    """Whether the reviewers agree well enough for what they approved. Without enough pairs there is no evidence of it.

    Without a floor it is only shown; where no example rests on experts there is nothing to prove.
    """
    floor = rules.agreement_floor
    if floor is None:
        return AgreementVerdict(True, "The recipe sets no floor: agreement is only shown.")
    if expert_examples == 0:
        return AgreementVerdict(True, "No example rests on a reviewer's decision.")
    if rules.reviewers == 1:
        return AgreementVerdict(False, "The recipe asks for agreement and for one reviewer: set review.reviewers to 2.")
    if overall.pairs < rules.minimum_pairs:
        missing = rules.minimum_pairs - overall.pairs
        return AgreementVerdict(
            False, f"{overall.pairs} examples were decided by two people: {missing} more are needed to tell."
        )
    if overall.kappa is None:
        return AgreementVerdict(False, f"There is no kappa: {overall.reason}.")
    word = "reaches" if overall.kappa >= floor else "is below"
    return AgreementVerdict(overall.kappa >= floor, f"Kappa {overall.kappa:.3f} {word} the floor of {floor:g}.")


def _first_pair(words: Sequence[ReviewWord]) -> tuple[ReviewWord, ReviewWord] | None:
    first: ReviewWord | None = None
    for word in words:
        if first is None or (first.revoked_at is not None and first.revoked_at <= word.said_at):
            first = word
        elif not is_same_person(first.reviewer, word.reviewer):
            return first, word
    return None


def _pair(first: ReviewWord, second: ReviewWord) -> Pair:
    return Pair(first.task, first.reviewer, second.reviewer, _category(first), _category(second))


def _category(word: ReviewWord) -> Category:
    if word.decision == "reject":
        return "reject"
    return "repaired" if word.is_repaired else "approve"


def _people(pair: Pair) -> tuple[str, str]:
    return person_key(pair.first), person_key(pair.second)


def _categories(pair: Pair, is_turned: bool) -> tuple[Category, Category]:
    both = pair.first_category, pair.second_category
    return (both[1], both[0]) if is_turned else both
