"""Answers that people judged: what a judge is measured on.

Owns reading the shipped sets (`data/evaluation/judge`) and putting an installation's own ratings into the same form, in an order
that does not depend on the rows'. Does not know judges.
"""

import csv
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.fingerprints import fingerprint_bytes, fingerprint_file, fingerprint_json, fingerprint_text
from fine_tune_assets.judging.judges.grades import HIGHEST, LOWEST, Answered, Pair
from fine_tune_assets.tables.records import table_of

RATED_SUMMARIES = "rated_summaries"
OWN_EXPERTS = "own_experts"
OWN_MEASURE = "score"
"""What an installation's own experts rate: 1 to 10."""
DECIDING_MEASURE = "FactualF1"
"""What the floor of the gate is about. The others are shown beside it."""
MEASURES: Mapping[str, tuple[float, float]] = {
    "FactualF1": (0.0, 1.0),
    "OmissionRate": (1.0, 0.0),
    "FactualPrecision": (0.0, 1.0),
    "FactualRecall": (0.0, 1.0),
    "HallucinationRate": (1.0, 0.0),
    OWN_MEASURE: (LOWEST, HIGHEST),
}
"""Human measure → its value for the worst and for the best answer."""
OWN_RATINGS = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=name == "reference") for name in Answered.__dataclass_fields__),
        pa.field("human_score", pa.float64(), nullable=False),
    ]
)
_INSTRUCTION = "Write what this part of a conversation between doctor and patient adds to the clinical note."
"""The rated summaries were written by models that were trained to do it; no instruction was recorded."""


@dataclass(frozen=True)
class Rated:
    """One answer and what people said of it."""

    answered: Answered
    group: str
    """Answers about the same text are resampled together."""
    ratings: Mapping[str, float]
    """Human measure → value."""


@dataclass(frozen=True)
class RatedSet:
    """Answers that people rated one by one."""

    name: str
    fingerprint: str
    task: str | None
    """None: it stands for every task."""
    rows: tuple[Rated, ...]

    @property
    def measures(self) -> tuple[str, ...]:
        return tuple(name for name in MEASURES if any(name in row.ratings for row in self.rows))


@dataclass(frozen=True)
class ChosenPair:
    """Two answers, and which of them each person preferred: 1, 2, or 0 for neither."""

    pair: Pair
    group: str
    labels: tuple[int, ...]

    @property
    def majority(self) -> int | None:
        """None where no label has more than half of the votes."""
        label, votes = Counter(self.labels).most_common(1)[0]
        return label if votes * 2 > len(self.labels) else None


@dataclass(frozen=True)
class PairSet:
    """Pairs of answers of which people preferred one."""

    name: str
    fingerprint: str
    rows: tuple[ChosenPair, ...]


LabelledSet = RatedSet | PairSet


def human_grade(measure: str, value: float) -> float:
    """A human rating on the scale from 1 to 10, 10 for the best."""
    worst, best = MEASURES[measure]
    return LOWEST + (HIGHEST - LOWEST) * (value - worst) / (best - worst)


def human_value(measure: str, grade: float) -> float:
    """The human rating that a grade from 1 to 10 stands for."""
    worst, best = MEASURES[measure]
    return worst + (best - worst) * (grade - LOWEST) / (HIGHEST - LOWEST)


def read_labelled_sets(folder: Path) -> list[LabelledSet]:
    """The rated summaries and every set of pairs below `folder`. Raises GateClosedError if one can't be read."""
    return [_read(path, _rated_set if path.suffix == ".csv" else _pair_set) for path in _files(folder)]


def present_fingerprints(folder: Path) -> dict[str, str]:
    """Name → fingerprint of each labelled set below `folder`, as it is now; one that can't be read has none."""
    return {path.stem: fingerprint_file(path) for path in _files(folder) if path.is_file()}


def _files(folder: Path) -> list[Path]:
    return [folder / f"{RATED_SUMMARIES}.csv", *sorted(folder.glob("*/*.json"))]


def read_rated_summaries(path: Path) -> RatedSet:
    """A CSV with the columns ID, Dialogue, Reference Summary, Automatic Summary and the human measures."""
    return _read(path, _rated_set)


def own_expert_sets(ratings: Iterable[tuple[str, float, Answered]]) -> list[RatedSet]:
    """The installation's own experts' ratings, (task, human score from 1 to 10, answer), as one set a task.

    Several ratings of the same answer count as one, their mean: who is asked twice has no second vote.
    """
    tasks: dict[str, list[tuple[float, Answered]]] = defaultdict(list)
    for task, score, answered in ratings:
        tasks[task].append((score, answered))
    return [_own_set(task, rated) for task, rated in sorted(tasks.items())]


def own_ratings_table(ratings: Iterable[tuple[str, float, Answered]]) -> pa.Table:
    """OWN_RATINGS: how ratings travel to a worker."""
    rows = [{**vars(answered), "task": task, "human_score": score} for task, score, answered in ratings]
    return table_of(rows, OWN_RATINGS)


def read_own_ratings(path: Path) -> list[RatedSet]:
    """The sets of such a table's file."""
    rows = pq.read_table(path, schema=OWN_RATINGS).to_pylist()
    return own_expert_sets((row["task"], row.pop("human_score"), Answered(**row)) for row in rows)


def _own_set(task: str, rated: Sequence[tuple[float, Answered]]) -> RatedSet:
    answers = {_key(answered): answered for _, answered in rated}
    scores: dict[str, list[float]] = defaultdict(list)
    for score, answered in rated:
        scores[_key(answered)].append(score)
    rows = [
        Rated(answers[key], fingerprint_text(answers[key].input), {OWN_MEASURE: sum(given) / len(given)})
        for key, given in ((key, sorted(given)) for key, given in scores.items())
    ]
    content = fingerprint_json(sorted((key, sorted(given)) for key, given in scores.items()))
    return RatedSet(OWN_EXPERTS, content, task, _in_order(rows))


def _key(answered: Answered) -> str:
    """The same answer to the same text is the same, whatever its id."""
    return fingerprint_json([answered.task, answered.instruction, answered.input, answered.output, answered.reference])


def _in_order(rows: Iterable[Rated]) -> tuple[Rated, ...]:
    return tuple(sorted(rows, key=lambda row: (row.group, _key(row.answered), sorted(row.ratings.items()))))


def _read(path: Path, parse: Any) -> Any:
    try:
        return parse(path.stem, path.read_bytes())
    except OSError as error:
        raise GateClosedError(f"The labelled answers {path.name} can't be read: no judge is licensed.") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        # Without its cause, which quotes the row.
        raise GateClosedError(
            f"The labelled answers {path.name} are not what they should be ({type(error).__name__}): no judge is licensed."
        ) from None


def _rated_set(name: str, content: bytes) -> RatedSet:
    text = io.StringIO(content.decode("utf-8-sig"), newline="")
    rows = [_rated(row) for row in csv.DictReader(text)]
    if not rows:
        raise ValueError("no rows")
    return RatedSet(name, fingerprint_bytes(content), None, _in_order(rows))


def _rated(row: Mapping[str, str]) -> Rated:
    answered = Answered(
        id=row["ID"],
        task="",
        instruction=_INSTRUCTION,
        input=row["Dialogue"],
        output=row["Automatic Summary"],
        reference=row["Reference Summary"],
    )
    ratings = {name: float(row[name]) for name in MEASURES if name in row}
    return Rated(answered, fingerprint_text(row["Dialogue"]), ratings)


def _pair_set(name: str, content: bytes) -> PairSet:
    rows = [_chosen(number, row) for number, row in enumerate(json.loads(content))]
    ordered = sorted(rows, key=lambda row: (row.group, row.pair.output_1, row.pair.output_2, row.labels))
    return PairSet(name, fingerprint_bytes(content), tuple(ordered))


def _chosen(number: int, row: Mapping[str, Any]) -> ChosenPair:
    """A row of PandaLM (three annotators) or of LLMBar (one label)."""
    has_annotators = "annotator1" in row
    outputs = ("response1", "response2") if has_annotators else ("output_1", "output_2")
    labels = [row[f"annotator{n}"] for n in (1, 2, 3)] if has_annotators else [row["label"]]
    pair = Pair(
        id=str(row.get("idx", number)),
        task="",
        instruction=row["instruction"] if has_annotators else row["input"],
        input=row["input"] if has_annotators else "",
        output_1=str(row[outputs[0]]),  # six answers of PandaLM are JSON booleans
        output_2=str(row[outputs[1]]),
        reference=None,
    )
    return ChosenPair(pair, fingerprint_json([pair.instruction, pair.input]), tuple(int(label) for label in labels))
