"""What corrections bring, from release to release: counts, shares and quantiles. Pure; no text comes in.

Owns which figures there are and when a kind of error rises or falls. A figure that nobody can tell is None, never 0.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean, quantiles

from fine_tune_assets.core.proportions import wilson_interval
from fine_tune_assets.ledger.reviews.corrections import CorrectionFacts

FEWEST = 5
"""Corrections with a kind of error, in each of two releases, below which no kind is said to rise or fall.

Also those that say how long they took: with fewer, nothing is said for the rest of a release's corrections.
"""


@dataclass(frozen=True)
class Share:
    count: int
    of: int
    low: float
    high: float
    """95 % interval."""

    @property
    def value(self) -> float:
        return self.count / self.of


@dataclass(frozen=True)
class KindShare:
    kind: str
    share: Share
    """Of the release's corrections that name a kind."""
    change: str
    """`rising`, `falling`, `not clear`, or `no comparison`: against the release before, by intervals that do not meet."""


@dataclass(frozen=True)
class Saved:
    """Of users' time, against the first release of which as much is known. Negative: this one cost more."""

    minutes: float
    """In all, over this release's answers."""
    against: str
    """That first release."""
    against_per_hundred: float
    """Its minutes per hundred answers."""


@dataclass(frozen=True)
class ReleaseValue:
    release_id: str
    corrections: int
    scrubbed: int
    """Of these, that could be scrubbed: figures about texts are about them."""
    edited: tuple[float, float, float] | None
    """Quartiles of the share of words that was changed."""
    timed: int
    minutes_spent: float | None
    """In all, of the corrections that say so."""
    median_seconds: float | None
    kinds: tuple[KindShare, ...]
    answered: int | None
    """Answers; None where not all of them are counted any more."""
    corrected: Share | None
    thumbs_up: int
    thumbs_down: int
    minutes_per_hundred: float | None
    """Of correcting, on a hundred answers; None where answers are not known or too few corrections say how long they took."""
    saved: Saved | None = None
    """None for the first release that has `minutes_per_hundred`, and for those that have none."""


def value_by_release(
    releases: Sequence[str],
    facts: Sequence[CorrectionFacts],
    edits: Mapping[str, float],
    thumbs: Mapping[str, Mapping[str, int]],
    answered: Mapping[str, int],
) -> list[ReleaseValue]:
    """One row a release, in the order given (oldest first).

    `edits`: correction id → share of words changed, of those that were scrubbed.
    """
    of_release: dict[str, list[CorrectionFacts]] = defaultdict(list)
    for fact in facts:
        of_release[fact.release_id].append(fact)
    rows, before = [], Counter[str]()
    for release_id in releases:
        own = of_release[release_id]
        kinds = Counter(fact.error_kind for fact in own if fact.error_kind is not None)
        rows.append(
            _row(release_id, own, _kinds(kinds, before), edits, thumbs.get(release_id, {}), answered.get(release_id))
        )
        # A release that nobody corrected says nothing of kinds: the one before it is compared with.
        before = kinds or before
    return _with_saved(rows)


def _with_saved(rows: Sequence[ReleaseValue]) -> list[ReleaseValue]:
    """(Minutes per answer with the first release, less those with this one) x this one's answers."""
    known = [row for row in rows if row.minutes_per_hundred is not None]
    if not known:
        return list(rows)
    first = known[0]

    def saved(row: ReleaseValue) -> Saved | None:
        before, now = first.minutes_per_hundred, row.minutes_per_hundred
        if row is first or before is None or now is None or row.answered is None:
            return None
        return Saved((before - now) / 100 * row.answered, first.release_id, before)

    return [replace(row, saved=saved(row)) for row in rows]


def _minutes_per_hundred(corrections: int, answered: int | None, seconds: Sequence[int]) -> float | None:
    """Corrections per hundred answers, each as long as those were on average that say it.

    Said where all of them say it, so also where there is none, or `FEWEST` do. More corrections than answers: one of the two
    is wrong.
    """
    if not answered or corrections > answered or len(seconds) < min(FEWEST, corrections):
        return None
    return 100 * corrections / answered * mean(seconds or [0]) / 60


def _row(
    release_id: str,
    own: Sequence[CorrectionFacts],
    kinds: tuple[KindShare, ...],
    edits: Mapping[str, float],
    thumbs: Mapping[str, int],
    answered: int | None,
) -> ReleaseValue:
    edited = [edits[fact.correction_id] for fact in own if fact.correction_id in edits]
    seconds = sorted(fact.seconds_spent for fact in own if fact.seconds_spent is not None)
    return ReleaseValue(
        release_id=release_id,
        corrections=len(own),
        scrubbed=len(edited),
        edited=_quartiles(edited),
        timed=len(seconds),
        minutes_spent=sum(seconds) / 60 if seconds else None,
        median_seconds=_quartiles(seconds)[1] if seconds else None,  # type: ignore[index]
        kinds=kinds,
        answered=answered,
        corrected=share_of(len(own), answered) if answered and answered >= len(own) else None,
        thumbs_up=thumbs.get("up", 0),
        thumbs_down=thumbs.get("down", 0),
        minutes_per_hundred=_minutes_per_hundred(len(own), answered, seconds),
    )


def share_of(count: int, of: int) -> Share:
    return Share(count, of, *wilson_interval(count, of))


def _quartiles(values: Sequence[float]) -> tuple[float, float, float] | None:
    if not values:
        return None
    if len(values) == 1:
        return (float(values[0]),) * 3
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return low, middle, high


def _kinds(now: Counter[str], before: Counter[str]) -> tuple[KindShare, ...]:
    total, total_before = now.total(), before.total()
    names = [kind for kind, _ in now.most_common()] + sorted(set(before) - set(now))
    found = []
    for kind in names if total else []:
        share = share_of(now[kind], total)
        change = "no comparison"
        if total >= FEWEST and total_before >= FEWEST:
            change = _change(share, share_of(before[kind], total_before))
        found.append(KindShare(kind, share, change))
    return tuple(found)


def _change(now: Share, before: Share) -> str:
    if now.low > before.high:
        return "rising"
    return "falling" if now.high < before.low else "not clear"
