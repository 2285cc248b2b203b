"""How often the test examples of a verdict have decided before.

Each verdict is a look at the same test, and a candidate without a gain needs one lucky look. The same grades are one look,
however often they are decided on.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from fine_tune_assets.judging.evaluation.example_selection import AskedExamples
from fine_tune_assets.ledger.serving.verdicts import AskedTest

_YEAR = timedelta(days=365)


@dataclass(frozen=True)
class VerdictHistory:
    """What earlier verdicts mean for the verdict on one candidate."""

    asked: AskedExamples
    verdicts_this_year: int
    """Verdicts on other grades in the year before this one, and this one."""


def find_verdict_history(
    tests: Sequence[AskedTest], adapter_id: str, incumbent: str, scores: str | None, now: datetime
) -> VerdictHistory:
    """`tests`: oldest first. `scores`: fingerprint of the grades to decide on; None before they exist.

    A verdict that is made again, by the same grades, has the history of its first time.
    """
    first = next((place for place, test in enumerate(tests) if scores and test.scores == scores), len(tests))
    moment = tests[first].recorded_at if first < len(tests) else now
    earlier = [test for test in tests[:first] if scores or test.adapter_id != adapter_id]
    looks = {test.scores: test for test in earlier}.values()
    same = [test for test in tests if test.incumbent == incumbent and test.example_ids]
    before = [test for test in tests if test.incumbent != incumbent and test.example_ids]
    return VerdictHistory(
        AskedExamples(
            of_incumbent=same[-1].example_ids if same else (),
            before_incumbent=before[-1].example_ids if before else (),
            uses=dict(Counter(example_id for test in looks for example_id in test.example_ids)),
        ),
        verdicts_this_year=1 + sum(test.recorded_at > moment - _YEAR for test in looks),
    )


@dataclass(frozen=True)
class ReuseSummary:
    examples: int
    fresh: int
    """Examples that decided no earlier verdict."""
    mean: float
    """Mean number of earlier verdicts of an example."""
    most: int


def summarize_reuse(uses: Iterable[int]) -> ReuseSummary:
    counts = list(uses)
    return ReuseSummary(
        len(counts), counts.count(0), sum(counts) / len(counts) if counts else 0.0, max(counts, default=0)
    )


def describe_reuse(found: ReuseSummary) -> str:
    if found.fresh == found.examples:
        return f"None of the {found.examples} test examples decided an earlier verdict."
    used = found.examples - found.fresh
    return f"{used} of {found.examples} test examples decided earlier verdicts: mean {found.mean:.1f}, at most {found.most}."
