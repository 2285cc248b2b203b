"""Grades an answer by its statements: each is checked against the record; the reference's are looked for in the answer.

A reader (the trained verifier, or a language model) gives the probabilities, which rules for numbers, sides, people and other
values lower (`rule_evidence`). `grade_scales` turns the probabilities into grades. `label_grades` grades answers to tasks
with fixed labels.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Protocol, runtime_checkable

from fine_tune_assets.claims.grounding_checks import GROUNDING_CHECKS
from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.progress import Progress, ignore_progress
from fine_tune_assets.judging.judges.answer_features import split_sentences
from fine_tune_assets.judging.judges.grade_scales import (
    SCALES_VERSION,
    grade_completeness,
    grade_form,
    grade_statements,
)
from fine_tune_assets.judging.judges.grades import (
    MIN_SCORE,
    SUPPORTS,
    CheckedStatement,
    Criterion,
    GradableAnswer,
    Grade,
    JudgeKind,
)
from fine_tune_assets.judging.judges.judge_weights import JudgeWeights, shipped_weights
from fine_tune_assets.judging.judges.label_grades import TaskLabels, grade_label
from fine_tune_assets.judging.judges.rubrics import Rubric, overall_grade
from fine_tune_assets.judging.judges.rule_evidence import WEIGHING, RuleFindings, find_rule_evidence, weigh
from fine_tune_assets.judging.judges.statement_readers import Claim, Reading, StatementReader, TrainedReader
from fine_tune_assets.judging.judges.verifier.record_passages import split_statements
from fine_tune_assets.judging.judges.word_overlap import WordOverlap, word_overlap
from fine_tune_assets.recipes.schema import RubricCriterion

SUPPORTED_FROM: Final = 0.5
"""Probability below which a statement that a rule doubts is called contradicted, whatever the reader says."""
KEPT_FROM: Final = 0.04
"""Probability from which a statement of the answer counts when the reference's are looked for: a false one adds nothing."""
NOTHING_GRADED: Final = "no criterion of the rubric can be graded without a reference answer"


@runtime_checkable
class CriterionReader(Protocol):
    """A reader that also grades criteria which no statement shows, such as tone."""

    def grade_criterion(
        self, criterion: RubricCriterion, answers: Sequence[GradableAnswer], progress: Progress
    ) -> list[Criterion | str]:
        """One grade per answer, in order, or why there is none."""


@dataclass
class StatementJudge:
    """`kind`: `verifier` or `statements`."""

    kind: JudgeKind
    reader: StatementReader
    rubric: Rubric
    weights: JudgeWeights = field(default_factory=shipped_weights)
    checks: Collection[str] = tuple(GROUNDING_CHECKS)
    """Grounding checks that lower what the reader says; the domain pack names them."""
    labels: TaskLabels = field(default_factory=dict)
    """Not part of the version: the rule is fixed, and other labels make another instruction set."""
    overlap: WordOverlap = field(default_factory=word_overlap)

    @cached_property
    def version(self) -> str:
        return fingerprint_json(
            {
                "kind": self.kind,
                "reader": dict(self.reader.identity),
                "rubric": [vars(one) for one in self.rubric],
                # Word overlap, by the name with which the shipped verifier was measured.
                "formula": self.overlap.version,
                "scales": SCALES_VERSION,
                "weights": self.weights.facts,
                "weighing": WEIGHING,
                "thresholds": [SUPPORTED_FROM, KEPT_FROM],
                # With all rules the version stays that of the shipped measurements.
                **({} if set(GROUNDING_CHECKS) <= set(self.checks) else {"checks": sorted(self.checks)}),
            }
        )

    @property
    def training_groups(self) -> frozenset[str]:
        """The weights of the scales were fitted on the same dialogues as word overlap; a verifier may know labelled records."""
        known = self.reader.training_groups if isinstance(self.reader, TrainedReader) else frozenset()
        return self.overlap.training_groups | known

    def for_repeat(self) -> "StatementJudge":
        return replace(self, reader=self.reader.for_repeat())

    def grade(self, answers: Sequence[GradableAnswer], progress: Progress) -> list[Grade]:
        prose = iter(self._grade_prose([one for one in answers if one.task not in self.labels], progress))
        return [
            grade_label(one, self.labels[one.task], self.rubric) if one.task in self.labels else next(prose)
            for one in answers
        ]

    def _grade_prose(self, answers: Sequence[GradableAnswer], progress: Progress) -> list[Grade]:
        checked = self._check_answers(answers, progress)
        completeness = self._look_for_references(answers, checked, progress)
        modelled = self._grade_modelled(answers, progress)
        return [
            self._grade(answer, own, *wanted, modelled[row])
            for row, (answer, own, wanted) in enumerate(zip(answers, checked, completeness, strict=True))
        ]

    def read_completeness(
        self, answers: Sequence[GradableAnswer]
    ) -> list[tuple[tuple[CheckedStatement, ...], float | None]]:
        """For each answer: the reference's statements, and the grade of word overlap, from which completeness is graded.

        An answer without a reading has no statements.
        """
        found = self._look_for_references(answers, self._check_answers(answers, ignore_progress), ignore_progress)
        return [(() if isinstance(wanted, str) else wanted, overlap) for wanted, overlap in found]

    def _check_answers(
        self, answers: Sequence[GradableAnswer], progress: Progress
    ) -> list[tuple[CheckedStatement, ...] | str]:
        own = self._read([(answer.input, answer.output) for answer in answers], progress)
        return [_check_own(answer, *found, self.checks) for answer, found in zip(answers, own, strict=True)]

    def _look_for_references(
        self,
        answers: Sequence[GradableAnswer],
        checked: Sequence[tuple[CheckedStatement, ...] | str],
        progress: Progress,
    ) -> list[tuple[tuple[CheckedStatement, ...] | str, float | None]]:
        """The reference's statements are looked for in the supported statements only: a false one must not add completeness."""
        kept = [
            "" if isinstance(own, str) else "\n".join(one.text for one in own if one.probability >= KEPT_FROM)
            for own in checked
        ]
        shown = [replace(answer, output=text) for text, answer in zip(kept, answers, strict=True)]
        wanted = self._read([(one.output, one.reference or "") for one in shown], progress)
        overlaps = self.overlap.grade(shown)
        return [(_check_wanted(*found), overlap) for found, overlap in zip(wanted, overlaps, strict=True)]

    def _read(self, texts: Sequence[tuple[str, str]], progress: Progress) -> list[tuple[list[str], list[Reading]]]:
        """For each (record, text): the text's statements, and their readings."""
        parts = [split_statements(text) for _, text in texts]
        claims = [Claim(record, one) for (record, _), part in zip(texts, parts, strict=True) for one in part]
        readings = iter(self.reader.read(claims, progress))
        return [(part, [next(readings) for _ in part]) for part in parts]

    def _grade_modelled(
        self, answers: Sequence[GradableAnswer], progress: Progress
    ) -> list[dict[str, Criterion | str]]:
        """The criteria that only a language model grades: also completeness, for an answer without a reference."""
        found: list[dict[str, Criterion | str]] = [{} for _ in answers]
        reader = self.reader
        if not isinstance(reader, CriterionReader):
            return found
        for criterion in self.rubric:
            rows = [row for row, answer in enumerate(answers) if _is_modelled(criterion, answer)]
            grades = reader.grade_criterion(criterion, [answers[row] for row in rows], progress)
            for row, grade in zip(rows, grades, strict=True):
                found[row][criterion.name] = grade
        return found

    def _grade(
        self,
        answer: GradableAnswer,
        own: tuple[CheckedStatement, ...] | str,
        wanted: tuple[CheckedStatement, ...] | str,
        overlap: float | None,
        modelled: Mapping[str, Criterion | str],
    ) -> Grade:
        if has_unread_text(answer.output):
            return Grade(None, "the answer has text in a script that can't be cut into statements")
        if not split_sentences(answer.output):
            return Grade(MIN_SCORE, "the answer has no words")
        graded = {name: one for name, one in modelled.items() if not isinstance(one, str)}
        if isinstance(own, str) or isinstance(wanted, str) or len(graded) < len(modelled):
            return Grade(None, next(one for one in (own, wanted, *modelled.values()) if isinstance(one, str)))
        criteria: dict[str, Criterion] = {}
        statements: list[CheckedStatement] = []
        for criterion in self.rubric:
            found = graded.get(criterion.name)
            if criterion.measured_by == "statements":
                found = grade_statements(own)
                statements += [replace(one, criterion=criterion.name) for one in own]
            elif criterion.measured_by == "reference" and wanted:
                found = grade_completeness(wanted, overlap, self.weights.completeness)
                statements += [replace(one, criterion=criterion.name) for one in wanted]
            elif criterion.measured_by == "form":
                found = grade_form(answer.output, answer.reference)
            if found is not None:
                criteria[criterion.name] = found
        reason = ", ".join(f"{name.replace('_', ' ')} {found.score:.1f}" for name, found in criteria.items())
        return Grade(overall_grade(self.rubric, criteria), reason or NOTHING_GRADED, criteria, tuple(statements))


def _is_modelled(criterion: RubricCriterion, answer: GradableAnswer) -> bool:
    has_reference = bool(split_statements(answer.reference or ""))
    return criterion.measured_by == "model" or (criterion.measured_by == "reference" and not has_reference)


def has_unread_text(output: str) -> bool:
    """Whether letters of the answer are in none of its statements: sentences without a Latin letter or digit."""
    read = sum(character.isalpha() for statement in split_statements(output) for character in statement)
    latin = sum(character.isalpha() for sentence in split_sentences(output) for character in sentence)
    return sum(character.isalpha() for character in output) > max(read, latin)


def _check_own(
    answer: GradableAnswer, statements: Sequence[str], readings: Sequence[Reading], checks: Collection[str]
) -> tuple[CheckedStatement, ...] | str:
    """The statements with their probabilities after the rules; or why there are none."""
    if failure := next((reading.failure for reading in readings if reading.failure), ""):
        return failure
    findings = find_rule_evidence(answer.output, answer.input, statements, checks)
    return tuple(
        _weigh_statement(_checked(one, reading), reading.wrong_word, found)
        for one, reading, found in zip(statements, readings, findings, strict=True)
    )


def _check_wanted(statements: Sequence[str], readings: Sequence[Reading]) -> tuple[CheckedStatement, ...] | str:
    if failure := next((reading.failure for reading in readings if reading.failure), ""):
        return failure
    return tuple(_checked(one, reading) for one, reading in zip(statements, readings, strict=True))


def _checked(statement: str, reading: Reading) -> CheckedStatement:
    shares = (reading.supported, reading.contradicted, reading.not_mentioned)
    if not all(math.isfinite(share) for share in shares):
        shares = (0.0, 0.0, 1.0)
    return CheckedStatement(statement, "", SUPPORTS[shares.index(max(shares))], round(shares[0], 6), reading.evidence)


def _weigh_statement(statement: CheckedStatement, wrong_word: float, found: RuleFindings) -> CheckedStatement:
    probability = round(weigh(statement.probability, wrong_word, found), 6)
    is_overruled = bool(found.rules) and statement.support == "supported" and probability < SUPPORTED_FROM
    support = "contradicted" if is_overruled else statement.support
    return replace(statement, support=support, probability=probability, veto=found.heaviest)
