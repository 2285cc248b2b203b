"""What `fine-tune grade` says of an answer beside its grade: the checks, people's scale, and what the judge can't see.

Owns reading them from recipe and installation. Without an installation there is no map and no length, and the rest is there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.claims.checking import check_answer
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.core.stored_rows import rows_if_stored
from fine_tune_assets.core.tables import JUDGE_AGREEMENT, conform
from fine_tune_assets.judging.answer_checks import Bounds, format_faults, is_within, length_bounds
from fine_tune_assets.judging.grades import Answered, Grade, Judge, what_it_cant_see
from fine_tune_assets.judging.licence import licence_of
from fine_tune_assets.recipes.loading import load_recipe
from fine_tune_assets.recipes.schema import CheckSettings


@dataclass(frozen=True)
class AnswerFacts:
    checks: CheckSettings
    floor: float
    bounds: Mapping[str, Bounds]
    """Task → fewest and most words."""
    agreement: pa.Table | None
    """JUDGE_AGREEMENT; None where no judge was measured here."""

    def about(self, judge: Judge, answered: Answered, grade: Grade) -> dict[str, Any]:
        """As JSON."""
        return {
            "on_peoples_scale": self._mapped(judge, answered.task, grade),
            "cannot_see": what_it_cant_see(judge.kind, bool(answered.reference)),
            "checks": {**check_answer(answered.output, answered.input), **self._form(answered)},
        }

    def _mapped(self, judge: Judge, task: str, grade: Grade) -> dict[str, Any] | None:
        """With the set of rated answers that the map comes from; None without a grade, or without a licence for the task."""
        if grade.score is None or self.agreement is None:
            return None
        scale = licence_of(self.agreement, judge.version, task, self.floor).scale
        if scale is None:
            return None
        return {"score": scale.of(grade.score), "by": scale.labelled_set, "fingerprint": scale.fingerprint}

    def _form(self, answered: Answered) -> dict[str, Any]:
        """Only what is known of the task. Whether a model ended by itself can't be told from a text."""
        found: dict[str, Any] = {}
        if (wanted := self.checks.formats.get(answered.task)) is not None:
            found["format"] = {"faults": format_faults(answered.output, wanted)}
        if (bounds := self.bounds.get(answered.task)) is not None:
            words = {"words": len(answered.output.split()), "fewest": bounds[0], "most": bounds[1]}
            found["length"] = {**words, "is_within": is_within(answered.output, bounds)}
        return found


def facts_of_answers() -> AnswerFacts:
    """By the recipe and the installation of the settings."""
    settings = load_settings()
    recipe = load_recipe(settings.recipe)
    return AnswerFacts(
        checks=recipe.checks,
        floor=recipe.judge.agreement_floor,
        bounds=_bounds(settings.layout, recipe.checks),
        agreement=_agreement(settings.layout),
    )


def _agreement(layout: Layout) -> pa.Table | None:
    path = layout.table("judge_agreement")
    return conform(pq.read_table(path, partitioning=None), JUDGE_AGREEMENT) if path.is_file() else None


def _bounds(layout: Layout, checks: CheckSettings) -> dict[str, Bounds]:
    """Of the approved answers that are here."""
    rows = rows_if_stored(layout.table("approved_examples"), ("task", "output"))
    return length_bounds(((row["task"], row["output"]) for row in rows), checks)
