"""Builds a labelled set from the references of rated answers: right answers, answers with one planted error, and rewrites.

The labels are known without people. Errors come from `error_plants`, whose words the checks do not share, and from references of
other subjects; rewrites use the verifier's training rules on other texts. The choice is deterministic.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.judging.judges.grades import GradableAnswer
from fine_tune_assets.judging.judges.labelled_sets import RatedAnswer
from fine_tune_assets.judging.judges.planted_errors.error_plants import PLANTS
from fine_tune_assets.judging.judges.verifier.record_passages import split_statements
from fine_tune_assets.judging.judges.verifier.training_data.balanced_pairs import BLIND_RECORD
from fine_tune_assets.judging.judges.verifier.training_data.paraphrases import paraphrase

OTHER_SUBJECT: Final = "other_subject"
"""Kind of error: a statement of another subject's reference."""
MAX_PER_KIND: Final = 30
MAX_ADDED: Final = 100
_MIN_FOREIGN_WORDS: Final = 5
_DRAWS: Final = 8
"""Draws per statement and kind of error, of which equal ones count once."""


@dataclass(frozen=True)
class ChangedAnswer:
    """An answer before and after a change."""

    kind: str
    group: str
    """Cases about the same text are resampled together."""
    before: GradableAnswer
    after: GradableAnswer


@dataclass(frozen=True)
class PlantedErrorSet:
    errors: tuple[ChangedAnswer, ...]
    """References before and after one planted error, without a reference to compare with: only the record shows the error."""
    added: tuple[ChangedAnswer, ...]
    """Rated answers before and after a false statement was put in front, so that the end stays as it was."""
    paraphrases: tuple[ChangedAnswer, ...]
    """References before and after a true rewrite."""


def build_planted_errors(rows: Sequence[RatedAnswer]) -> PlantedErrorSet:
    """The set of these answers' references; empty without references."""
    texts = [row for row in {row.group: row for row in rows}.values() if split_statements(row.answered.reference or "")]
    errors = [error for row in texts for error in (*_plant(row), *_add_foreign(row, texts))]
    return PlantedErrorSet(
        errors=tuple(_limit_kinds(errors)),
        added=tuple(_add_statements(rows, texts, errors)),
        paraphrases=tuple(_rewrite(texts)),
    )


def replace_record(answer: GradableAnswer) -> GradableAnswer:
    """The answer as a judge sees it in the blind control."""
    return replace(answer, input=BLIND_RECORD)


def _plant(row: RatedAnswer) -> Iterator[ChangedAnswer]:
    """Every error that can be planted in one statement of the reference."""
    reference = row.answered.reference or ""
    for statement in split_statements(reference):
        for plant, flag in PLANTS.values():
            drawn = [plant(statement, Random(f"{statement} {draw}")) for draw in range(_DRAWS)]
            for wrong in dict.fromkeys(text for text in drawn if text and text != statement):
                if statement in reference:
                    yield _changed(flag.split()[0], row, reference, reference.replace(statement, wrong, 1))


def _add_foreign(row: RatedAnswer, texts: Sequence[RatedAnswer]) -> Iterator[ChangedAnswer]:
    if foreign := _foreign_statement(row, texts):
        reference = row.answered.reference or ""
        yield _changed(OTHER_SUBJECT, row, reference, f"{foreign} {reference}")


def _changed(kind: str, row: RatedAnswer, right: str, wrong: str) -> ChangedAnswer:
    answered = replace(row.answered, reference=None)
    return ChangedAnswer(kind, row.group, replace(answered, output=right), replace(answered, output=wrong))


def _foreign_statement(row: RatedAnswer, texts: Sequence[RatedAnswer]) -> str:
    """A statement of another subject's reference; empty if there is none."""
    own = row.answered.reference or ""
    found = [
        statement.rstrip(".; ") + "."
        for other in texts
        if other.group != row.group
        for statement in split_statements(other.answered.reference or "")
        if len(statement.split()) >= _MIN_FOREIGN_WORDS and statement not in own
    ]
    return min(found, key=lambda statement: fingerprint_text(f"{row.answered.output} {statement}"), default="")


def _limit_kinds(errors: Sequence[ChangedAnswer]) -> Iterator[ChangedAnswer]:
    """At most MAX_PER_KIND errors of each kind."""
    for kind in sorted({error.kind for error in errors}):
        yield from _choose([error for error in errors if error.kind == kind], MAX_PER_KIND)


def _choose(cases: Sequence[ChangedAnswer], limit: int) -> list[ChangedAnswer]:
    return sorted(cases, key=lambda case: fingerprint_text(f"{case.before.output} {case.after.output}"))[:limit]


def _add_statements(
    rows: Sequence[RatedAnswer], texts: Sequence[RatedAnswer], errors: Sequence[ChangedAnswer]
) -> Iterator[ChangedAnswer]:
    wrong = {error.group: _planted_statement(error) for error in errors if error.kind != OTHER_SUBJECT}
    for kind, said in (
        ("added_other_subject", [_foreign_statement(row, texts) for row in rows]),
        ("added_planted_error", [wrong.get(row.group, "") for row in rows]),
    ):
        cases = [
            ChangedAnswer(kind, row.group, row.answered, replace(row.answered, output=f"{text} {row.answered.output}"))
            for row, text in zip(rows, said, strict=True)
            if text
        ]
        yield from _choose(cases, MAX_ADDED)


def _planted_statement(error: ChangedAnswer) -> str:
    """The statement with the error, alone."""
    right = set(split_statements(error.before.output))
    return next((one for one in split_statements(error.after.output) if one not in right), "").rstrip(".; ") + "."


def _rewrite(texts: Sequence[RatedAnswer]) -> Iterator[ChangedAnswer]:
    """Each reference with one rewrite in every statement that has one."""
    for row in texts:
        rewritten = reference = row.answered.reference or ""
        for statement in split_statements(reference):
            if other := paraphrase(statement, Random(statement)):
                rewritten = rewritten.replace(statement, other, 1)
        if rewritten != reference:
            before = replace(row.answered, output=reference)
            yield ChangedAnswer("paraphrase", row.group, before, replace(before, output=rewritten))
