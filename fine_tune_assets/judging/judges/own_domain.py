"""Qualifies a judge in a domain for which no ratings are shipped: by the installation's own approved answers and experts.

The shipped ratings are clinicians' ratings of clinical notes. Elsewhere a judge decides only if it detects errors that were
planted into the installation's own approved answers, and if its grades agree with the ratings of its own experts, each figure by
the end of its 95 % interval that speaks against it (docs/decisions/0013-judges.md). Every failure names one next step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.judging.judges.criterion_qualification import (
    MEASURED_BY_RULE,
    CriterionQualification,
    planted_failure,
)
from fine_tune_assets.judging.judges.judge_qualification import (
    MIN_RATINGS,
    JudgeQualification,
    aligned_agreement,
    judge_rows,
    lowest_agreement,
    own_failure,
    read_calibration,
)
from fine_tune_assets.judging.judges.label_grades import labels_by_task
from fine_tune_assets.judging.judges.labelled_sets import ALL_PLANTED
from fine_tune_assets.judging.judges.needed_ratings import (
    MIN_TASK_RATINGS,
    PLANNED_CHANCE,
    needed_ratings,
    planned_agreement,
)
from fine_tune_assets.judging.judges.own_agreement import OWN_POOLED
from fine_tune_assets.judging.judges.planted_errors.own_error_detection import OWN_EXAMPLES
from fine_tune_assets.recipes.schema import Recipe, RubricCriterion
from fine_tune_assets.tables.judging_rows import JudgeAgreement

RATED_DOMAINS: Final = frozenset({"clinical"})
"""Domains of the shipped ratings."""
MIN_SUBJECTS: Final = 15
"""Fewer subjects give an interval that is too narrow."""
MIN_PLANTED: Final = 20
"""Smallest number of planted errors."""
ADAPT: Final = "Run `fine-tune verifier adapt`."
PAGE: Final = "on the desk's page Spot checks"


@dataclass(frozen=True)
class OwnEvidence:
    """What an installation has for the qualification of its judge."""

    domain: str
    floor: float
    examples: str
    """Fingerprint of the test examples into which errors are planted."""
    subjects: int
    """Subjects of these examples."""
    ratings: str
    """Fingerprint of the experts' ratings; empty without any."""
    rated: Mapping[str, int]
    """Task → rated answers that are still stored, 0 for a task without any."""
    spot_checks: int
    """Setting `judge.spot_checks`."""
    adapted: str | None
    """Result of `fine-tune verifier adapt`: the better verifier for `judge.verifier`, or empty if none was better; None before it
    ran on examples with this test split."""
    verifier: str
    """Setting `judge.verifier`."""


def prose_tasks(recipe: Recipe) -> tuple[str, ...]:
    """The tasks whose answers a judge reads. A rule compares fixed labels."""
    labelled = labels_by_task(recipe)
    return tuple(task.name for task in recipe.tasks if task.name not in labelled)


def needs_own_ratings(recipe: Recipe) -> bool:
    return recipe.domain not in RATED_DOMAINS and bool(prose_tasks(recipe))


def spot_check_size(recipe: Recipe) -> int:
    """Answers of a comparison that experts are asked to rate: enough to qualify the judge, unless spot checks are off."""
    chosen, floor = recipe.judge.spot_checks, recipe.judge.agreement_floor
    if not chosen or not needs_own_ratings(recipe):
        return chosen
    return max(chosen, needed_ratings(planned_agreement(floor), floor, PLANNED_CHANCE) or 0)


def qualify_in_domain(table: pa.Table, judge_version: str, own: OwnEvidence) -> JudgeQualification:
    """Over all tasks that a judge reads."""
    rows = judge_rows(table, judge_version)
    planted, rated = _find(rows, OWN_EXAMPLES, ALL_PLANTED), _find_rated(rows, None)
    why_not = _examples_failure(planted, own) or _ratings_failure(rated, own, "")
    agreement = None if rated is None else aligned_agreement(rated)
    return JudgeQualification(
        task="",
        agreement=agreement,
        labelled_sets={
            row.labelled_set: row.labelled_set_fingerprint or "" for row in (planted, rated) if row is not None
        },
        failure_reason=why_not,
        calibration=None if why_not or rated is None else read_calibration(rated),
    )


def qualify_criterion_in_domain(
    table: pa.Table, judge_version: str, own: OwnEvidence, criterion: RubricCriterion
) -> CriterionQualification:
    """`statements` rest on planted errors; `reference` and `model` on the experts' ratings of the criterion, which must not speak
    against `statements` either."""
    if criterion.measured_by == "form":
        return CriterionQualification(criterion.name, None, "", MEASURED_BY_RULE)
    rows = judge_rows(table, judge_version)
    planted, rated = _find(rows, OWN_EXAMPLES, ALL_PLANTED), _find_rated(rows, criterion.name)
    if criterion.measured_by == "statements":
        why_not = _examples_failure(planted, own)
        if not why_not and rated is not None and rated.answer_count >= MIN_RATINGS:
            why_not = own_failure(rated, own.floor)
        basis = "" if planted is None or why_not else _planted_basis(planted)
    else:
        why_not = _ratings_failure(rated, own, criterion.name.replace("_", " "))
        basis = f"Agreement with your experts on {0 if rated is None else rated.answer_count} answers."
    agreement = None if rated is None else aligned_agreement(rated)
    return CriterionQualification(criterion.name, agreement, why_not, "" if why_not else basis)


def _find(rows: Sequence[JudgeAgreement], labelled_set: str, measure: str) -> JudgeAgreement | None:
    return next((row for row in rows if (row.labelled_set, row.human_measure) == (labelled_set, measure)), None)


def _find_rated(rows: Sequence[JudgeAgreement], criterion: str | None) -> JudgeAgreement | None:
    return next((row for row in rows if row.labelled_set == OWN_POOLED and row.criterion == criterion), None)


def _examples_failure(planted: JudgeAgreement | None, own: OwnEvidence) -> str:
    """Why planted errors do not qualify the judge; empty if they do."""
    if own.subjects < MIN_SUBJECTS:
        return (
            f"The shipped ratings are clinical, and for the domain {own.domain} the test split has examples of {own.subjects} "
            f"subjects; {MIN_SUBJECTS} measure a judge. Approve examples of more subjects."
        )
    if planted is None or planted.labelled_set_fingerprint != own.examples:
        return f"It was not measured on your approved examples of the domain {own.domain}. {materialize_hint('judge_agreement')}"
    if planted.answer_count < MIN_PLANTED:
        return (
            f"Only {planted.answer_count} errors could be planted into your approved answers; {MIN_PLANTED} measure a judge. "
            "Approve more or longer answers."
        )
    return planted_failure(planted, _better_judge_step(own))


def _better_judge_step(own: OwnEvidence) -> str:
    if own.adapted is None:
        return ADAPT
    if own.adapted and own.adapted != own.verifier:
        return f"Set judge.verifier: {own.adapted} in the recipe: it was better on your held-out examples."
    return "Name a language model in judge.kind and judge.model: more training of the verifier was tried."


def _ratings_failure(row: JudgeAgreement | None, own: OwnEvidence, criterion: str) -> str:
    """Why the experts' ratings do not qualify the judge; empty if they do. `criterion`: empty for the overall grade."""
    is_current = row is not None and row.labelled_set_fingerprint == own.ratings
    counted = row.answer_count if row is not None and is_current else 0
    lowest = lowest_agreement(row) if row is not None and is_current else None
    unrated = max(0, *(MIN_TASK_RATINGS - count for count in own.rated.values()))
    if lowest is not None and lowest >= own.floor and counted >= MIN_RATINGS and not unrated:
        return ""
    given, first = sum(own.rated.values()), needed_ratings(planned_agreement(own.floor), own.floor) or MIN_RATINGS
    if given < first or unrated:
        said = f"Your experts rated {given} answers of the domain {own.domain}."
        return f"{said} {_rate(max(first - given, unrated), own, criterion)}"
    if row is None or not is_current:
        return f"Your experts' ratings were not compared with its grades. {materialize_hint('judge_agreement')}"
    if criterion and counted < first:
        return f"Your experts rated {criterion} in {counted} answers. {_rate(first - counted, own, criterion)}"
    agreement = aligned_agreement(row)
    if agreement is None or lowest is None:
        why = row.missing_reason or "too many answers without a grade"
        return f"Its agreement with your experts is missing: {why}. {_better_judge_step(own)}"
    shown = (
        f"Its agreement with your experts is {agreement:.2f} on {counted} answers, of which {lowest:.2f} is shown, below the "
        f"floor {own.floor:.2f}."
    )
    enough = needed_ratings(agreement, own.floor)
    if enough is None:
        return f"{shown} {_better_judge_step(own)}"
    return f"{shown} {_rate(max(enough - counted, MIN_TASK_RATINGS), own, criterion)}"


def _rate(count: int, own: OwnEvidence, criterion: str) -> str:
    """The step that collects ratings."""
    planned = planned_agreement(own.floor)
    likely = needed_ratings(planned, own.floor, PLANNED_CHANCE)
    certainty = (
        f"{needed_ratings(planned, own.floor)} in all show an agreement of {planned:.2f} in half of the cases, "
        f"{likely} in {PLANNED_CHANCE:.0%}"
    )
    start = f"Set judge.spot_checks: {likely} in the recipe, then rate" if not own.spot_checks else "Rate"
    named = f", {criterion} too" if criterion else ""
    tasks = "".join(
        f", at least {MIN_TASK_RATINGS - found} of the task {task}"
        for task, found in own.rated.items()
        if found < MIN_TASK_RATINGS
    )
    return f"{start} {count} more answers {PAGE}{named}{tasks} ({certainty})."


def _planted_basis(row: JudgeAgreement) -> str:
    return (
        f"Errors planted into your approved answers: {row.lowered_share:.0%} lower the grade, {row.raised_share:.0%} raise it "
        f"({row.answer_count} cases); AUROC {row.auroc:.2f}, without the record {row.blind_auroc:.2f}."
    )
