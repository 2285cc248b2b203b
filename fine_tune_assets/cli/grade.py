"""`fine-tune grade` and `fine-tune compare`: the recipe's judge on answers of your own, with checks and people's scale.

A line that can't be read costs that line only, and the command ends with status 1. Without an installation there is no map to
people's scale and no usual length.
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

from fine_tune_assets.claims.checks import check_answer
from fine_tune_assets.cli.documents import OUTPUT
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.judging.contestants.answer_checks import Bounds, format_faults, is_within, length_bounds
from fine_tune_assets.judging.judges.grades import Answered, Grade, Judge, Pair, Preference, what_it_cant_see
from fine_tune_assets.judging.judges.qualification import licence_of
from fine_tune_assets.judging.judges.registry import judge_of, judge_request
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import CheckSettings
from fine_tune_assets.tables.judging import JudgeAgreement
from fine_tune_assets.tables.records import conform
from fine_tune_assets.tables.stored_tables import rows_if_stored


@dataclass(frozen=True)
class AnswerFacts:
    checks: CheckSettings
    floor: float
    bounds: Mapping[str, Bounds]
    """Task → fewest and most words."""
    agreement: pa.Table | None
    """`judge_agreement`; None where no judge was measured here."""

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
    return conform(pq.read_table(path, partitioning=None), JudgeAgreement.SCHEMA) if path.is_file() else None


def _bounds(layout: Layout, checks: CheckSettings) -> dict[str, Bounds]:
    """Of the approved answers that are here."""
    rows = rows_if_stored(layout.table("approved_examples"), ("task", "output"))
    return length_bounds(((row["task"], row["output"]) for row in rows), checks)


_AT_ONCE = 32
"""Lines, after which what is graded is printed."""
_SHOWN = 20


class LinesLeftOutError(FineTuneError):
    """Some lines could not be read."""


@dataclass(frozen=True)
class _Line:
    given_id: Any
    """As it stands in the line: text or a number."""
    values: dict[str, Any]


_file = click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))


@click.command()
@_file
@OUTPUT
def grade(file: Path, output: IO[str]) -> None:
    """Grade answers of your own with the recipe's judge.

    JSONL with `id`, `instruction`, `input`, `output` and, where there is one, `reference` a line. One JSON object a line comes
    out, in the same order: `id`, `score` from 1 to 10 or null, `on_peoples_scale`, `cannot_see`, `reason`, `criteria`, `checks`,
    `judge`. With a `task` of the recipe, the checks of its format and length are among them.
    """
    lines, faults = _read(file, ("instruction", "input", "output"))
    facts = facts_of_answers()

    def graded(judge: Judge, part: Sequence[_Line], progress: Progress) -> list[dict[str, Any]]:
        answers = [Answered(str(line.given_id), **line.values) for line in part]
        grades = judge.grade(answers, progress)
        return [
            _graded(line, found) | facts.about(judge, answered, found)
            for line, answered, found in zip(part, answers, grades, strict=True)
        ]

    _run(lines, graded, output, "Grading")
    _require_none_left_out(file, faults)


@click.command()
@_file
@OUTPUT
def compare(file: Path, output: IO[str]) -> None:
    """Say which of two answers the recipe's judge prefers, asked in both orders.

    JSONL with `id`, `instruction`, `input`, `output_1`, `output_2` and, where there is one, `reference` a line. One JSON object a
    line comes out, in the same order: `id`, `preferred` (1, 2, or 0 for none), `probability` that the first one is better,
    `is_consistent`, `reason`, `judge`.
    """
    lines, faults = _read(file, ("instruction", "input", "output_1", "output_2"))

    def compared(judge: Judge, part: Sequence[_Line], progress: Progress) -> list[dict[str, Any]]:
        pairs = [Pair(str(line.given_id), **line.values) for line in part]
        return [_compared(line, found) for line, found in zip(part, judge.compare(pairs, progress), strict=True)]

    _run(lines, compared, output, "Comparing")
    _require_none_left_out(file, faults)


def _graded(line: _Line, found: Grade) -> dict[str, Any]:
    return {
        "id": line.given_id,
        "score": found.score,
        "reason": found.reason,
        "criteria": {name: asdict(criterion) for name, criterion in found.criteria.items()},
    }


def _compared(line: _Line, found: Preference) -> dict[str, Any]:
    return {
        "id": line.given_id,
        "preferred": found.preferred,
        "probability": found.probability,
        "is_consistent": found.is_consistent,
        "reason": found.reason,
    }


def _run(
    lines: Sequence[_Line],
    judged: Callable[[Judge, Sequence[_Line], Progress], list[dict[str, Any]]],
    output: IO[str],
    doing: str,
) -> None:
    """Print what is judged part by part, so that a run that is cut off has printed what it had."""
    settings = load_settings()
    request = judge_request(settings, load_recipe(settings.recipe).judge)
    if not lines:
        return
    with judge_of(request) as judge, _bar(doing, len(lines)) as told:
        for start in range(0, len(lines), _AT_ONCE):
            for row in judged(judge, lines[start : start + _AT_ONCE], told(start)):
                output.write(json.dumps({**row, "judge": short(judge.version)}, ensure_ascii=False) + "\n")
            output.flush()


@contextmanager
def _bar(doing: str, total: int) -> Iterator[Callable[[int], Progress]]:
    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=total)

        def from_line(start: int) -> Progress:
            return lambda done, _total, _what: bar.update(task, completed=start + done)

        yield from_line


def _read(file: Path, required: tuple[str, ...]) -> tuple[list[_Line], list[int]]:
    """The lines, and the numbers of those that are none, each of which is told at once."""
    try:
        content = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise LinesLeftOutError(f"{file} is not UTF-8 text. Save it as UTF-8 text.") from None
    lines, faults = [], []
    for number, text in enumerate(content.split("\n"), start=1):
        if not text.strip():
            continue
        try:
            lines.append(_line(text, f"{file.name}-{number}", required))
        except LinesLeftOutError as fault:
            faults.append(number)
            click.echo(f"Line {number} of {file} is left out: {fault}", err=True)
    return lines, faults


def _line(text: str, without_id: str, required: tuple[str, ...]) -> _Line:
    """Raises LinesLeftOutError with what is wrong, without a word of the line."""
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise LinesLeftOutError("it is not a JSON object.")
    reference = given.get("reference")
    texts = {name: given.get(name) for name in required} | ({} if reference is None else {"reference": reference})
    for name, value in texts.items():
        if not isinstance(value, str):
            raise LinesLeftOutError(f"its `{name}` is missing or not text.")
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise LinesLeftOutError(f"its `{name}` holds half a character (a lone surrogate).")
    given_id = given.get("id", without_id)
    if not isinstance(given_id, str | int):
        raise LinesLeftOutError("its `id` is neither text nor a number.")
    return _Line(given_id, {"reference": None, **texts, "task": str(given.get("task", ""))})


def _require_none_left_out(file: Path, faults: Sequence[int]) -> None:
    if faults:
        numbers = ", ".join(f"line {number}" for number in faults[:_SHOWN]) + (", …" if len(faults) > _SHOWN else "")
        raise LinesLeftOutError(f"Left out of {file}: {numbers}. All others are done. Repair these and run again.")
