"""Grades an answer to a task with fixed labels: it equals the reference or it does not."""

from collections.abc import Mapping, Sequence

from fine_tune_assets.judging.judges.grades import MAX_SCORE, MIN_SCORE, Criterion, GradableAnswer, Grade
from fine_tune_assets.judging.judges.rubrics import Rubric, overall_grade
from fine_tune_assets.recipes.schema import Recipe

TaskLabels = Mapping[str, Sequence[str]]
"""Task → its labels."""


def labels_by_task(recipe: Recipe) -> dict[str, list[str]]:
    """The tasks whose answer is one of a few labels."""
    return {task.name: list(task.labels) for task in recipe.tasks if task.kind == "sections" and task.labels}


def grade_label(answer: GradableAnswer, labels: Sequence[str], rubric: Rubric) -> Grade:
    """Accuracy and completeness compare the answer with the reference, if there is one; form with the labels."""
    said = _normalize(answer.output)
    is_label = said in map(_normalize, labels)
    found = {"form": _criterion(is_label, "one of the task's labels" if is_label else "none of the task's labels")}
    if wanted := _normalize(answer.reference or ""):
        is_equal = said == wanted
        match = _criterion(is_equal, "equal to the reference" if is_equal else "a different label than the reference")
        found |= {"statements": match, "reference": match}
    criteria = {one.name: found[one.measured_by] for one in rubric if one.measured_by in found}
    reason = ", ".join(dict.fromkeys(one.reason for one in criteria.values()))
    return Grade(overall_grade(rubric, criteria), reason or "no reference answer to compare the label with", criteria)


def _criterion(is_right: bool, reason: str) -> Criterion:
    return Criterion(MAX_SCORE if is_right else MIN_SCORE, reason)


def _normalize(text: str) -> str:
    return text.strip().removesuffix(".").rstrip().casefold()
