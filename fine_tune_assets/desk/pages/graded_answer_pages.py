"""Pages of graded answers: what the judge read in each answer of the newest comparison, and the form to overrule it.

A user who may still rate answers blindly sees none. An answer is hidden if its subject was erased, its example is no longer
approved, or an identifier was marked in one of its texts.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal, cast

from starlette.responses import Response

from fine_tune_assets.core.fingerprints import fingerprint_text, short
from fine_tune_assets.core.permissions import Action, may
from fine_tune_assets.core.prompts.conversations import split_user_content
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.error_pages import PageError
from fine_tune_assets.desk.grade_details import ComparisonSummary, DetailedAnswer, ExampleSummary
from fine_tune_assets.desk.judged_answers import Asked
from fine_tune_assets.desk.pages.spot_check_pages import count_answers_to_rate, find_showable_examples
from fine_tune_assets.desk.rendering import redirect_to, render_page
from fine_tune_assets.desk.request_context import RequestContext
from fine_tune_assets.judging.judges.grades import CheckedStatement
from fine_tune_assets.judging.judges.rubrics import read_recipe_rubric
from fine_tune_assets.ledger.ledger_errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.reviews.statement_labels import (
    STATEMENT_SUPPORTS,
    LabelledTexts,
    StatementLabel,
    StatementSupport,
    list_overruled_answers,
    list_statement_labels,
    record_statement_label,
)

PAGE_ITEMS: Final = 50
Measure = Literal["statements", "reference", "form", "model"]


@dataclass(frozen=True)
class AnswerRow:
    """A line of the list."""

    summary: ExampleSummary
    accuracies: tuple[float | None, ...]
    """Of the candidate and, if it has one, the other model; None if not graded."""
    unsupported: tuple[int, ...]
    """Statements of each answer that the judge does not find supported."""
    is_overruled: bool

    @property
    def order(self) -> tuple[float, float, str]:
        """The lowest accuracy first, then the lowest grade; ungraded answers last."""
        accuracy, grade = self.accuracies[0], self.summary.candidate.grade
        last = float("inf")
        return (last if accuracy is None else accuracy, last if grade is None else grade, self.summary.example_id)


_FILTERS: Final[Mapping[str, tuple[str, Callable[[AnswerRow], bool]]]] = {
    "": ("in all", lambda _row: True),
    "unsupported": ("with an unsupported statement", lambda row: any(row.unsupported)),
    "overruled": ("overruled by an expert", lambda row: row.is_overruled),
}


@dataclass(frozen=True)
class ShownStatement:
    found: CheckedStatement
    fingerprint: str
    anchor: str
    labels: tuple[StatementLabel, ...]

    def own_support(self, user: str) -> StatementSupport | None:
        return next((label.support for label in self.labels if label.labeller == user), None)


@dataclass(frozen=True)
class StatementList:
    criterion: str
    is_of_reference: bool
    """Whether the statements are those of the approved answer, looked for in the answer."""
    statements: tuple[ShownStatement, ...]


@dataclass(frozen=True)
class _OpenExample:
    asked: Asked
    answers: tuple[DetailedAnswer, ...]


def show_graded_answers(desk: Desk, context: RequestContext) -> Response:
    """The answers of the newest comparison, lowest accuracy first. Contains no text."""
    unrated, summary = count_answers_to_rate(desk, context), desk.grade_details.latest()
    rows = [] if unrated or summary is None else _list_rows(desk, summary)
    shown = context.query_param("show") if context.query_param("show") in _FILTERS else ""
    matching = [row for row in rows if _FILTERS[shown][1](row)]
    start = max(0, context.query_number("start") or 0)
    page = matching[start : start + PAGE_ITEMS]
    ids = [row.summary.example_id for row in page]
    return render_page(
        desk,
        context,
        "graded_answer_list.html",
        summary=summary,
        unrated=unrated,
        rows=page,
        views=[(name, sum(map(test, rows)), label, name == shown) for name, (label, test) in _FILTERS.items()],
        shown=shown,
        showable=_find_showable(desk, ids),
        item_names=desk.names.at(context.now).examples(ids),
        earlier=max(0, start - PAGE_ITEMS) if start else None,
        later=start + PAGE_ITEMS if len(matching) > start + PAGE_ITEMS else None,
    )


def show_graded_answer(desk: Desk, context: RequestContext) -> Response:
    """Grades, criteria and statements of both models' answers to one example."""
    opened, example_id = _open_example(desk, context), context.path_param("example_id")
    labels = list_statement_labels(desk.ledger, example_id)
    return render_page(
        desk,
        context,
        "graded_answer.html",
        example_id=example_id,
        name=desk.names.at(context.now).examples([example_id])[example_id],
        asked=opened.asked,
        answers=[
            (answer, list_statements(answer, labels, find_criteria(desk, "reference"))) for answer in opened.answers
        ],
        supports=STATEMENT_SUPPORTS,
        may_label=may(context.user.roles, Action.OVERRULE_JUDGE),
    )


def label_statement(desk: Desk, context: RequestContext) -> Response:
    """Record what this user says about a statement, and return to it."""
    opened, form = _open_example(desk, context), context.form
    answer = next((found for found in opened.answers if found.fingerprint == form.get_text("answer")), None)
    shown = [] if answer is None else [one for part in list_statements(answer, [], ()) for one in part.statements]
    asked = (form.get_text("criterion"), form.get_text("statement"))
    statement = next((one for one in shown if (one.found.criterion, one.fingerprint) == asked), None)
    if answer is None or statement is None:
        raise PageError(409, "Statement not found", "The answer was graded again. Nothing was recorded; read it again.")
    try:
        texts = _labelled_texts(desk, opened.asked, answer, statement.found)
        record_statement_label(desk.ledger, desk.key, _make_label(context, answer, statement), texts)
    except UnknownRecordError:
        raise _gone_error() from None
    except LedgerError as error:
        raise PageError(400, "Not recorded", str(error)) from None
    return redirect_to(f"/graded-answers/{context.path_param('example_id')}?notice=labelled#{statement.anchor}")


def list_statements(
    answer: DetailedAnswer, labels: Collection[StatementLabel], reference_criteria: Collection[str]
) -> list[StatementList]:
    """The answer's statements by criterion, in the order of the text, with the experts' labels."""
    return [
        StatementList(
            criterion,
            criterion in reference_criteria,
            tuple(_show_statement(answer, found, labels) for found in statements),
        )
        for criterion, statements in groupby(answer.statements, key=lambda found: found.criterion)
    ]


def find_criteria(desk: Desk, measured_by: Measure) -> frozenset[str]:
    """Names of the recipe's criteria that are measured this way."""
    return frozenset(one.name for one in read_recipe_rubric(desk.read_recipe()) if one.measured_by == measured_by)


def _show_statement(
    answer: DetailedAnswer, found: CheckedStatement, labels: Collection[StatementLabel]
) -> ShownStatement:
    fingerprint, answered = fingerprint_text(found.text), answer.fingerprint
    identity = (answered, found.criterion, fingerprint)
    about = (
        label
        for label in labels
        if (label.answer_fingerprint, label.criterion, label.statement_fingerprint) == identity
    )
    anchor = f"{answer.role}-{short(fingerprint_text(' '.join(identity)))}"
    return ShownStatement(found, fingerprint, anchor, tuple(about))


def _make_label(context: RequestContext, answer: DetailedAnswer, statement: ShownStatement) -> StatementLabel:
    return StatementLabel(
        example_id=context.path_param("example_id"),
        subject_key=answer.subject_key,
        model_fingerprint=answer.model_fingerprint,
        answer_fingerprint=answer.fingerprint,
        statement_fingerprint=statement.fingerprint,
        criterion=statement.found.criterion,
        judge_support=statement.found.support,
        judge_probability=statement.found.probability,
        judge_version=answer.judge_version,
        support=cast(StatementSupport, context.form.get_text("support")),
        labeller=context.user.name,
        labelled_at=context.now,
    )


def _labelled_texts(desk: Desk, asked: Asked, answer: DetailedAnswer, statement: CheckedStatement) -> LabelledTexts:
    """The text that the judge compared the statement with: the record, or the answer for a statement of the reference."""
    _, record = split_user_content(asked.question)
    is_of_answer = statement.criterion not in find_criteria(desk, "reference")
    return LabelledTexts(record if is_of_answer else answer.text, statement.text, fingerprint_text(record))


def _list_rows(desk: Desk, summary: ComparisonSummary) -> list[AnswerRow]:
    accuracy, overruled = find_criteria(desk, "statements"), list_overruled_answers(desk.ledger)
    rows = (
        AnswerRow(
            found,
            tuple(_find_grade(answer.criteria, accuracy) for answer in found.answers),
            tuple(sum(answer.unsupported.get(name, 0) for name in accuracy) for answer in found.answers),
            any((found.example_id, answer.answer_fingerprint) in overruled for answer in found.answers),
        )
        for found in summary.examples
    )
    return sorted(rows, key=lambda row: row.order)


def _find_grade(criteria: Mapping[str, float], names: Collection[str]) -> float | None:
    """The lowest, if the rubric has several such criteria."""
    return min((criteria[name] for name in names if name in criteria), default=None)


def _find_showable(desk: Desk, example_ids: list[str]) -> frozenset[str]:
    judged = desk.judged_answers.latest()
    return frozenset() if judged is None else find_showable_examples(desk, judged, example_ids)


def _open_example(desk: Desk, context: RequestContext) -> _OpenExample:
    """Raises PageError if the texts may not be shown."""
    if count_answers_to_rate(desk, context):
        raise PageError(
            409,
            "Rate the answers first",
            "You still have answers to rate blindly under Spot checks. Nothing was recorded.",
        )
    judged, example_id = desk.judged_answers.latest(), context.path_param("example_id")
    asked = None if judged is None else desk.judged_answers.read_asked(judged, example_id)
    answers = desk.grade_details.read_answers(example_id)
    if asked is None or not answers or example_id not in _find_showable(desk, [example_id]):
        raise _gone_error()
    texts = [asked.question, asked.reference, *(text for answer in answers for text in answer.texts)]
    if desk.withheld.has_missed_term(answers[0].subject_key, "\n".join(texts)):
        raise _gone_error()
    return _OpenExample(asked, tuple(answers))


def _gone_error() -> PageError:
    return PageError(
        404, "Answer not found", "Newer answers were graded, or this one may no longer be shown. Open the list again."
    )
