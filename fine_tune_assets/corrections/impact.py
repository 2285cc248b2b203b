"""Summarizes corrections by release: counts, shares, quantiles and trends of error kinds.

Pure; sees no text. A figure that can't be computed is None, never 0.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean, quantiles

from fine_tune_assets.core.proportions import wilson_interval
from fine_tune_assets.ledger.reviews.correction_records import CorrectionMetadata

MIN_CORRECTIONS = 5
"""Minimum number of corrections with an error kind, in each of two releases, for a trend.

Also the minimum number with a stated duration for extrapolating to the release's other corrections.
"""


@dataclass(frozen=True)
class Share:
    count: int
    total: int
    low: float
    high: float
    """95 % interval."""

    @property
    def value(self) -> float:
        return self.count / self.total


@dataclass(frozen=True)
class KindShare:
    kind: str
    share: Share
    """Share of the release's corrections that name an error kind."""
    trend: str
    """`rising`, `falling`, `unclear` or `no comparison` with the previous release: a trend needs disjoint intervals."""


@dataclass(frozen=True)
class TimeSaved:
    """Users' time saved compared with the first release that has the same figures; negative if more time was spent."""

    minutes: float
    """Total over this release's answers."""
    baseline_release_id: str
    """The first release with these figures."""
    baseline_minutes_per_hundred: float
    """Minutes per hundred answers of the baseline."""


@dataclass(frozen=True)
class ReleaseImpact:
    release_id: str
    corrections: int
    scrubbed: int
    """Corrections that could be scrubbed; text figures cover only these."""
    edit_quartiles: tuple[float, float, float] | None
    """Quartiles of the share of words changed."""
    timed_corrections: int
    minutes_spent: float | None
    """Total over corrections with a stated duration."""
    median_seconds: float | None
    kinds: tuple[KindShare, ...]
    answer_count: int | None
    """None if some answers are no longer counted."""
    correction_rate: Share | None
    thumbs_up: int
    thumbs_down: int
    minutes_per_hundred: float | None
    """Correction time per hundred answers; None if answers are unknown or too few corrections state a duration."""
    time_saved: TimeSaved | None = None
    """None for the first release with `minutes_per_hundred`, and for releases without it."""


def impact_by_release(
    releases: Sequence[str],
    facts: Sequence[CorrectionMetadata],
    edits: Mapping[str, float],
    thumbs: Mapping[str, Mapping[str, int]],
    answer_counts: Mapping[str, int],
) -> list[ReleaseImpact]:
    """Return one row per release, in the given order (oldest first).

    `edits`: correction id → share of words changed, for scrubbed corrections.
    """
    of_release: dict[str, list[CorrectionMetadata]] = defaultdict(list)
    for fact in facts:
        of_release[fact.release_id].append(fact)
    rows, before = [], Counter[str]()
    for release_id in releases:
        corrections = of_release[release_id]
        kinds = Counter(fact.error_kind for fact in corrections if fact.error_kind is not None)
        rows.append(
            _release_impact(
                release_id,
                corrections,
                _kind_shares(kinds, before),
                edits,
                thumbs.get(release_id, {}),
                answer_counts.get(release_id),
            )
        )
        # A release without corrections has no kinds; the next one is compared with the release before it.
        before = kinds or before
    return _add_time_saved(rows)


def _add_time_saved(rows: Sequence[ReleaseImpact]) -> list[ReleaseImpact]:
    """(First release's minutes per answer - this release's) × this release's answers."""
    known = [row for row in rows if row.minutes_per_hundred is not None]
    if not known:
        return list(rows)
    first = known[0]

    def saved(row: ReleaseImpact) -> TimeSaved | None:
        before, now = first.minutes_per_hundred, row.minutes_per_hundred
        if row is first or before is None or now is None or row.answer_count is None:
            return None
        return TimeSaved((before - now) / 100 * row.answer_count, first.release_id, before)

    return [replace(row, time_saved=saved(row)) for row in rows]


def _minutes_per_hundred(corrections: int, answered: int | None, seconds: Sequence[int]) -> float | None:
    """Corrections per hundred answers, multiplied by their average stated duration.

    None unless all corrections, or at least `MIN_CORRECTIONS`, state a duration. None if there are more corrections than answers,
    which means that one of the counts is wrong.
    """
    if not answered or corrections > answered or len(seconds) < min(MIN_CORRECTIONS, corrections):
        return None
    return 100 * corrections / answered * mean(seconds or [0]) / 60


def _release_impact(
    release_id: str,
    corrections: Sequence[CorrectionMetadata],
    kinds: tuple[KindShare, ...],
    edits: Mapping[str, float],
    thumbs: Mapping[str, int],
    answered: int | None,
) -> ReleaseImpact:
    edited = [edits[fact.correction_id] for fact in corrections if fact.correction_id in edits]
    seconds = sorted(fact.seconds_spent for fact in corrections if fact.seconds_spent is not None)
    return ReleaseImpact(
        release_id=release_id,
        corrections=len(corrections),
        scrubbed=len(edited),
        edit_quartiles=_quartiles(edited),
        timed_corrections=len(seconds),
        minutes_spent=sum(seconds) / 60 if seconds else None,
        median_seconds=_quartiles(seconds)[1] if seconds else None,  # type: ignore[index]
        kinds=kinds,
        answer_count=answered,
        correction_rate=wilson_share(len(corrections), answered) if answered and answered >= len(corrections) else None,
        thumbs_up=thumbs.get("up", 0),
        thumbs_down=thumbs.get("down", 0),
        minutes_per_hundred=_minutes_per_hundred(len(corrections), answered, seconds),
    )


def wilson_share(count: int, total: int) -> Share:
    return Share(count, total, *wilson_interval(count, total))


def _quartiles(values: Sequence[float]) -> tuple[float, float, float] | None:
    if not values:
        return None
    if len(values) == 1:
        return (float(values[0]),) * 3
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return low, middle, high


def _kind_shares(now: Counter[str], before: Counter[str]) -> tuple[KindShare, ...]:
    total, total_before = now.total(), before.total()
    names = [kind for kind, _ in now.most_common()] + sorted(set(before) - set(now))
    shares = []
    for kind in names if total else []:
        share = wilson_share(now[kind], total)
        change = "no comparison"
        if total >= MIN_CORRECTIONS and total_before >= MIN_CORRECTIONS:
            change = _trend(share, wilson_share(before[kind], total_before))
        shares.append(KindShare(kind, share, change))
    return tuple(shares)


def _trend(now: Share, before: Share) -> str:
    if now.low > before.high:
        return "rising"
    return "falling" if now.high < before.low else "unclear"
