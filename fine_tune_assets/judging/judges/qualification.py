"""Whether a judge's grades may decide about a promotion: a licence for exactly one judge, one task and one floor.

Owns when it is given and what ends it. Nothing of it is stored: it is worked out from what was measured every time that somebody
asks, so a judge with another model, prompt or rubric, labelled answers with other content, or a higher floor have none until
they are measured. Without one a judge informs and can't promote. A licence brings a map with it, by which the judge's grades are
shown as people would have given them, beside what the judge said and never in its place (docs/decisions/0028 says why).
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.judging.judges.labelled_sets import DECIDING_MEASURE, OWN_EXPERTS, RATED_SUMMARIES
from fine_tune_assets.judging.statistics.association import Knots, calibrated
from fine_tune_assets.tables.judging import JudgeAgreement
from fine_tune_assets.tables.records import records_of

MINIMUM_RATINGS = 20
"""Of an installation's own experts about a task, below which they say nothing: with 20, a true correlation of .6 has a 95 %
interval from .2 to .8."""
MAXIMUM_MISSING = 0.05
"""Share of the labelled answers that the judge may leave without a grade: it could leave out the hard ones."""


@dataclass(frozen=True)
class PeoplesScale:
    """From a judge's grades to those of the people whom it was measured against."""

    labelled_set: str
    """What people rated."""
    fingerprint: str
    knots: Knots

    def of(self, score: float) -> float:
        """1 to 10."""
        return round(float(calibrated(np.array([score]), self.knots)[0]), 2)


@dataclass(frozen=True)
class MappedMeans:
    """Means of the mapped grades, of the examples that are graded for both."""

    candidate: float
    incumbent: float
    labelled_sets: tuple[str, ...]
    """Whose scale it is."""


def mapped_means(
    graded: Sequence[tuple[str | None, float, float]], scales: Mapping[str, PeoplesScale]
) -> MappedMeans | None:
    """Of (task, candidate's grade, incumbent's). None where a task has no map: a mean of a part would be another figure."""
    used = [scales.get(task or "") for task, _, _ in graded]
    whole = [scale for scale in used if scale is not None]
    if not graded or len(whole) < len(graded):
        return None
    candidate = [scale.of(new) for scale, (_, new, _) in zip(whole, graded, strict=True)]
    incumbent = [scale.of(old) for scale, (_, _, old) in zip(whole, graded, strict=True)]
    names = tuple(sorted({scale.labelled_set for scale in whole}))
    return MappedMeans(round(float(np.mean(candidate)), 4), round(float(np.mean(incumbent)), 4), names)


@dataclass(frozen=True)
class Licence:
    """May a judge decide about one task?"""

    task: str
    agreement: float | None
    """The lowest rank correlation with people that counts for this task; None where there is none."""
    labelled_sets: Mapping[str, str]
    """Name → fingerprint of the answers that it rests on."""
    why_not: str
    """Empty when the judge is licensed."""
    scale: PeoplesScale | None = None
    """What its grades are on people's scale: on the own experts' where they said enough. None without a licence."""


def licence_of(table: pa.Table, judge_version: str, task: str, floor: float) -> Licence:
    """May this judge decide about this task? `table`: `judge_agreement`.

    The ratings that are shipped must reach the floor, and so must those of the installation's own experts on this task as soon
    as there are enough of them.
    """
    rows = [row for row in records_of(JudgeAgreement, table) if row.judge_version == judge_version]
    deciding = (RATED_SUMMARIES, DECIDING_MEASURE)
    shipped = [row for row in rows if (row.labelled_set, row.human_measure) == deciding]
    of_task = [row for row in rows if (row.labelled_set, row.task) == (OWN_EXPERTS, task)]
    own = [row for row in of_task if row.answers + (row.missing or 0) >= MINIMUM_RATINGS]
    counted = [*shipped, *own]
    found = [agreement for row in counted if (agreement := agreement_in(row)) is not None]
    why_not = _why_not(shipped, own, floor)
    return Licence(
        task=task,
        agreement=min(found) if len(found) == len(counted) and found else None,
        labelled_sets={row.labelled_set: row.set_fingerprint or "" for row in counted},
        why_not=why_not,
        scale=None if why_not else _scale(counted[-1]),
    )


def _scale(row: JudgeAgreement) -> PeoplesScale | None:
    knots = json.loads(row.calibration or "[]")
    if not knots:
        return None
    return PeoplesScale(row.labelled_set, row.set_fingerprint or "", tuple((raw, human) for raw, human in knots))


def closed_because(licence: Licence, labelled_sets: Mapping[str, str]) -> str:
    """Why a judge may not decide; empty while its licence holds.

    `labelled_sets`: the present fingerprints, of which it may rest on some. Where the installation's own experts said enough, it
    has to rest on them.
    """
    if licence.why_not:
        return licence.why_not
    changed = sorted(name for name, found in licence.labelled_sets.items() if labelled_sets.get(name) != found)
    if changed:
        return f"The labelled answers {', '.join(changed)} changed. {materialize_hint('judge_agreement')}"
    if OWN_EXPERTS in labelled_sets and OWN_EXPERTS not in licence.labelled_sets:
        return "This installation's experts rated answers that the judge was not measured on. " + materialize_hint(
            "judge_agreement"
        )
    return ""


def agreement_in(row: JudgeAgreement) -> float | None:
    """A row's rank correlation; None where it is absent, not a number, or of too few of the answers."""
    value, missing = row.spearman, row.missing or 0
    if value is None or not math.isfinite(value):
        return None
    return float(value) if missing <= MAXIMUM_MISSING * (row.answers + missing) else None


def _why_not(shipped: list[JudgeAgreement], own: list[JudgeAgreement], floor: float) -> str:
    """Empty if nothing is missing. Asks whether each figure is good, never whether it is bad: NaN is below no floor."""
    if len(shipped) != 1:
        return f"This judge was not measured against experts. {materialize_hint('judge_agreement')}"
    for row, who in (
        *((row, "clinicians") for row in shipped),
        *((row, "this installation's own experts") for row in own),
    ):
        agreement = agreement_in(row)
        if agreement is None:
            return f"Its agreement with {who} could not be measured: {row.why or 'too many answers without a grade'}."
        if not agreement >= floor:
            return f"Its agreement with {who} is {agreement:.2f}, below {floor:.2f}."
    return ""
