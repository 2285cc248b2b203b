"""`fine-tune grade` judges any file of answers; `fine-tune eval export-lm-eval` exports ability questions.

Invalid lines are skipped and reported, and the exit status is 1. Without an installation, calibration to human ratings
and the expected length are unavailable.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import click
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import Progress as Bar

from fine_tune_assets.claims.grounding_checks import check_answer
from fine_tune_assets.cli.document_input import OUTPUT, has_lone_surrogate
from fine_tune_assets.cli.evidence_text import describe_grade
from fine_tune_assets.cli.judge_options import judge_options
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.judging.evaluation.deterministic_checks import (
    LengthBounds,
    count_format_errors,
    is_length_within,
    length_bounds,
)
from fine_tune_assets.judging.judges.grades import (
    GradableAnswer,
    Grade,
    Judge,
    describe_blind_spots,
)
from fine_tune_assets.judging.judges.judge_qualification import qualify_judge
from fine_tune_assets.judging.judges.judge_registry import judge_request, open_judge
from fine_tune_assets.judging.judges.rubrics import Rubric, read_recipe_rubric
from fine_tune_assets.recipes.domain_packs import LoadedPack, load_pack
from fine_tune_assets.recipes.schema import CheckSettings, Recipe
from fine_tune_assets.tables.judging_rows import JudgeAgreement
from fine_tune_assets.tables.record_classes import conform
from fine_tune_assets.tables.stored_tables import read_rows_if_present


@dataclass(frozen=True)
class AnswerFacts:
    checks: CheckSettings
    floor: float
    bounds: Mapping[str, LengthBounds]
    """Task → minimum and maximum number of words."""
    agreement: pa.Table | None
    """`judge_agreement`; None before a judge was measured."""
    rubric: Rubric
    pack: LoadedPack

    def about(self, judge: Judge, answered: GradableAnswer, grade: Grade) -> dict[str, Any]:
        """As JSON."""
        return {
            "calibrated_means": self._mapped(judge, answered.task, grade),
            "blind_spots": describe_blind_spots(judge.kind, bool(answered.reference)),
            "ungraded": [one.name for one in self.rubric if one.name not in grade.criteria],
            "checks": {**check_answer(answered.output, answered.input, self.pack.pack.checks), **self._form(answered)},
        }

    def _mapped(self, judge: Judge, task: str, grade: Grade) -> dict[str, Any] | None:
        """The grade on the scale of the human ratings, with their set; None without a grade or a qualified judge for the task."""
        if grade.score is None or self.agreement is None:
            return None
        scale = qualify_judge(self.agreement, judge.version, task, self.floor).calibration
        if scale is None:
            return None
        return {"score": scale.calibrate(grade.score), "by": scale.labelled_set, "fingerprint": scale.fingerprint}

    def _form(self, answered: GradableAnswer) -> dict[str, Any]:
        """Format and length, for tasks of the recipe. A text alone does not show whether the model stopped on its own."""
        found: dict[str, Any] = {}
        if (wanted := self.checks.formats.get(answered.task)) is not None:
            found["format"] = {"faults": count_format_errors(answered.output, wanted, self.pack.section_names)}
        if (bounds := self.bounds.get(answered.task)) is not None:
            words = {"words": len(answered.output.split()), "fewest": bounds[0], "most": bounds[1]}
            found["length"] = {**words, "is_within": is_length_within(answered.output, bounds)}
        return found


def facts_of_answers(settings: Settings, recipe: Recipe) -> AnswerFacts:
    """Facts from the installation and its recipe."""
    return AnswerFacts(
        checks=recipe.checks,
        floor=recipe.judge.agreement_floor,
        bounds=_bounds(settings.layout, recipe.checks),
        agreement=_agreement(settings.layout),
        rubric=read_recipe_rubric(recipe),
        pack=load_pack(recipe.domain),
    )


def _agreement(layout: Layout) -> pa.Table | None:
    path = layout.table("judge_agreement")
    return conform(pq.read_table(path, partitioning=None), JudgeAgreement.SCHEMA) if path.is_file() else None


def _bounds(layout: Layout, checks: CheckSettings) -> dict[str, LengthBounds]:
    """From the approved answers of this installation."""
    rows = read_rows_if_present(layout.table("approved_examples"), ("task", "output"))
    return length_bounds(((row["task"], row["output"]) for row in rows), checks)


_BATCH_LINES = 32
"""Lines per batch; results are printed after each batch."""
_MAX_LISTED = 20


class InvalidLinesError(FineTuneError):
    """Some lines are invalid."""


@dataclass(frozen=True)
class _Line:
    given_id: Any
    """The id in the line: text or a number."""
    values: dict[str, Any]


_file = click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
_evidence = click.option("--evidence", "has_evidence", is_flag=True, help="Print each statement with its evidence.")


@click.command()
@_file
@judge_options
@_evidence
@OUTPUT
def grade(file: Path, recipe: Recipe, has_evidence: bool, output: IO[str]) -> None:
    """Grade answers with a judge.

    FILE is JSONL with `instruction`, `input`, `output`, and optionally `id`, `reference`, `task` and `passages`, a list of texts
    that count as part of the input. The recipe names the judge and the rubric, unless options do; without a recipe, the shipped
    verifier grades by the rubric `general`. Without a `reference`, accuracy is graded from the input alone.

    Prints one JSON object per line, in order: `id`, `score` from 1 to 10 or null, `calibrated_means`, `blind_spots`, `reason`,
    `criteria`, `ungraded` (criteria of the rubric without a grade), `checks`, `judge`. For a `task` of the recipe, `checks`
    include format and length. `--evidence` adds `statements`, the least supported first: `text`, `criterion`, `support`,
    `probability`, `evidence` (a line of the record) and `veto` (the check that overruled it); on a terminal, it prints text.
    """
    lines, faults = _read(file, ("instruction", "input", "output"))
    facts = facts_of_answers(load_settings(), recipe)

    def graded(judge: Judge, part: Sequence[_Line], progress: Progress) -> list[dict[str, Any]]:
        answers = [GradableAnswer(str(line.given_id), **line.values) for line in part]
        grades = judge.grade(answers, progress)
        return [
            _graded(line, found)
            | facts.about(judge, answered, found)
            | ({"statements": _worst_first(found)} if has_evidence else {})
            for line, answered, found in zip(part, answers, grades, strict=True)
        ]

    _run(lines, recipe, graded, output, describe_grade if has_evidence and output.isatty() else _as_json)
    _require_none_left_out(file, faults)


@click.group("eval")
def evaluation() -> None:
    """Export ability questions."""


@evaluation.command("export-lm-eval")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def export_lm_eval(folder: Path) -> None:
    """Export ability questions for lm-eval-harness.

    Writes two tasks for each file in `data/evaluation/abilities` into FOLDER, and prints their names.
    """
    from fine_tune_assets.judging.evaluation.general_abilities import write_tasks

    for name in write_tasks(list((load_settings().layout.evaluation / "abilities").glob("*.jsonl")), folder):
        click.echo(name)


def _graded(line: _Line, found: Grade) -> dict[str, Any]:
    return {
        "id": line.given_id,
        "score": found.score,
        "reason": found.reason,
        "criteria": {name: asdict(criterion) for name, criterion in found.criteria.items()},
    }


def _worst_first(found: Grade) -> list[dict[str, Any]]:
    return [asdict(one) for one in sorted(found.statements, key=lambda one: one.probability)]


def _as_json(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)


def _run(
    lines: Sequence[_Line],
    recipe: Recipe,
    judged: Callable[[Judge, Sequence[_Line], Progress], list[dict[str, Any]]],
    output: IO[str],
    describe: Callable[[Mapping[str, Any]], str],
) -> None:
    """Print results batch by batch, so that an interrupted run keeps what it finished."""
    request = judge_request(load_settings(), recipe)
    if not lines:
        return
    with open_judge(request) as judge:
        for start in range(0, len(lines), _BATCH_LINES):
            part = lines[start : start + _BATCH_LINES]
            # The bar is closed before the results are written, because both may go to one terminal.
            with _bar(f"Line {start + 1} of {len(lines)}") as progress:
                rows = judged(judge, part, progress)
            for row in rows:
                output.write(describe({**row, "judge": short(judge.version)}) + "\n")
            output.flush()


@contextmanager
def _bar(doing: str) -> Iterator[Progress]:
    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total, _what: bar.update(task, completed=done, total=total)


def _read(file: Path, required: tuple[str, ...]) -> tuple[list[_Line], list[int]]:
    """The valid lines, and the numbers of the invalid ones, each reported immediately."""
    try:
        content = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidLinesError(f"{file} is not UTF-8 text. Save it as UTF-8 text.") from None
    lines, faults = [], []
    for number, text in enumerate(content.split("\n"), start=1):
        if not text.strip():
            continue
        try:
            lines.append(_line(text, f"{file.name}-{number}", required))
        except InvalidLinesError as fault:
            faults.append(number)
            click.echo(f"Line {number} of {file} is skipped: {fault}", err=True)
    return lines, faults


def _line(text: str, without_id: str, required: tuple[str, ...]) -> _Line:
    """Raises InvalidLinesError; the message has no text of the line."""
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise InvalidLinesError("it is not a JSON object.")
    optional = {name: given[name] for name in ("reference", "task") if given.get(name) is not None}
    texts = {name: given.get(name) for name in required} | optional
    for name, value in texts.items():
        if not isinstance(value, str):
            raise InvalidLinesError(f"its `{name}` is missing or not text.")
        if has_lone_surrogate(value):
            raise InvalidLinesError(f"its `{name}` contains a lone surrogate.")
    passages = given.get("passages") or []
    if not isinstance(passages, list) or not all(isinstance(one, str) for one in passages):
        raise InvalidLinesError("its `passages` are not a list of texts.")
    if has_lone_surrogate("".join(passages)):
        raise InvalidLinesError("its `passages` contain a lone surrogate.")
    texts["input"] = "\n\n".join([str(texts["input"]), *passages])
    given_id = given.get("id", without_id)
    if not isinstance(given_id, str | int) or has_lone_surrogate(str(given_id)):
        raise InvalidLinesError("its `id` is neither valid text nor a number.")
    return _Line(given_id, {"reference": None, "task": "", **texts})


def _require_none_left_out(file: Path, faults: Sequence[int]) -> None:
    if faults:
        numbers = ", ".join(f"line {number}" for number in faults[:_MAX_LISTED]) + (
            ", …" if len(faults) > _MAX_LISTED else ""
        )
        raise InvalidLinesError(
            f"Skipped in {file}: {numbers}. All other lines are done. Correct these lines and run the command again."
        )
