"""Pages for blind spot checks: an expert rates an answer by its input alone.

The pages never show grade, band, model or reference, nor the example id, which would lead to the reference. An answer is hidden
if its subject was erased, its example is no longer approved, or an identifier was marked in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.responses import Response

from fine_tune_assets.approval.lapsed_approvals import find_lapsed_approvals, read_decisions_about
from fine_tune_assets.core.error_kinds import ERROR_KINDS
from fine_tune_assets.core.permissions import Action, may
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.error_pages import PageError
from fine_tune_assets.desk.judged_answers import Exchange, JudgedComparison
from fine_tune_assets.desk.rendering import redirect_to, render_page
from fine_tune_assets.desk.request_context import RequestContext
from fine_tune_assets.judging.judges.needed_ratings import PLANNED_CHANCE, needed_ratings, planned_agreement
from fine_tune_assets.judging.judges.own_domain import needs_own_ratings, prose_tasks, spot_check_size
from fine_tune_assets.judging.judges.rubrics import read_recipe_rubric
from fine_tune_assets.judging.judges.spot_check_sample import JudgedAnswer, order_for_rater
from fine_tune_assets.ledger.ledger_errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.reviews.erasures import list_erased_subjects
from fine_tune_assets.ledger.reviews.spot_check_ratings import (
    MAX_SCORE,
    MIN_SCORE,
    SpotCheck,
    add_spot_check,
    list_rated_answers,
    list_spot_checks,
)


def select_answers_to_rate(desk: Desk, judged: JudgedComparison) -> list[JudgedAnswer]:
    """Answers of the sample that may be shown, in its order; empty after a subject of the set was erased."""
    recipe = desk.read_recipe()
    chosen = desk.judged_answers.select_sample(judged, spot_check_size(recipe), str(recipe.training.seed))
    showable = find_showable_examples(desk, judged, [answer.example_id for answer in chosen])
    return [answer for answer in chosen if answer.example_id in showable]


def find_showable_examples(desk: Desk, judged: JudgedComparison, example_ids: Sequence[str]) -> frozenset[str]:
    """The examples whose answers may be shown: still approved, not withheld, and no subject of the set was erased."""
    stored = desk.judged_answers.find_set(judged) if example_ids else None
    if stored is None or stored.tombstone is not None:
        return frozenset()
    rows = stored.find_rows("example_id", *example_ids)
    lapsed = find_lapsed_approvals(rows, read_decisions_about(desk.ledger, rows, desk.read_recipe().review))
    erased = list_erased_subjects(desk.ledger)
    hidden = lapsed.keys() | desk.withheld.example_ids()
    return frozenset(row.example_id for row in rows if row.example_id not in hidden and row.subject_key not in erased)


def list_unrated(desk: Desk, rater: str, answers: Sequence[JudgedAnswer], after: str = "") -> list[JudgedAnswer]:
    """The answers that this rater has not rated, in the rater's order, starting after `after` and wrapping around."""
    order = order_for_rater(rater, answers, str(desk.read_recipe().training.seed))
    start = next((place + 1 for place, answer in enumerate(order) if answer.answer_id == after), 0)
    rated = list_rated_answers(desk.ledger, rater)
    return [answer for answer in (*order[start:], *order[:start]) if answer.answer_id not in rated]


def count_answers_to_rate(desk: Desk, context: RequestContext) -> int:
    """Answers that this user may still rate blindly. Until there are none, the judge's grades are hidden from them."""
    judged = desk.judged_answers.latest() if may(context.user.roles, Action.REVIEW) else None
    return 0 if judged is None else len(list_unrated(desk, context.user.name, select_answers_to_rate(desk, judged)))


def find_visible_exchange(desk: Desk, judged: JudgedComparison, answer: JudgedAnswer) -> Exchange | None:
    """The texts; None if they were removed, or contain a marked identifier of the subject."""
    found = desk.judged_answers.read_exchange(judged, answer)
    if found is None or desk.withheld.has_missed_term(answer.subject_key, f"{found.question}\n{found.answer}"):
        return None
    return found


PAGE_ITEMS = 50
SCALE = tuple(range(MIN_SCORE, MAX_SCORE + 1))
ERROR_SHORTCUTS = dict(zip(ERROR_KINDS, "owhdsyitfrx", strict=True))
"""Kind of error → keyboard shortcut."""
_GRADES = frozenset(map(str, SCALE))
_NO_GRADE = f"Choose a grade from {MIN_SCORE} to {MAX_SCORE}. Nothing was recorded."


@dataclass(frozen=True)
class QualifyingRatings:
    """How far the ratings have come that qualify the judge in a domain without shipped ratings."""

    rated: int
    """Answers with a rating."""
    needed: int
    """Answers that show the planned agreement in half of the cases."""
    likely: int
    """The same in 80 % of the cases."""
    answers: int
    """Answers of the latest comparison."""


@dataclass(frozen=True)
class _OpenCheck:
    answers: list[JudgedAnswer]
    answer: JudgedAnswer
    exchange: Exchange


def show_spot_checks(desk: Desk, context: RequestContext) -> Response:
    judged = desk.judged_answers.latest()
    sample = [] if judged is None else select_answers_to_rate(desk, judged)
    waiting = list_unrated(desk, context.user.name, sample)
    return render_page(
        desk,
        context,
        "spot_checks.html",
        rows=waiting[:PAGE_ITEMS],
        waiting=len(waiting),
        total=len(sample),
        is_enabled=desk.read_recipe().judge.spot_checks > 0,
        is_judged=judged is not None,
        qualifying=count_qualifying_ratings(desk, judged),
    )


def count_qualifying_ratings(desk: Desk, judged: JudgedComparison | None) -> QualifyingRatings | None:
    """None if the judge needs no ratings, or before a comparison."""
    recipe = desk.read_recipe()
    if judged is None or not needs_own_ratings(recipe):
        return None
    tasks, floor = prose_tasks(recipe), recipe.judge.agreement_floor
    answers = {one.answer_id for one in judged.answers.values() if one.task in tasks}
    rated = {check.answer_id for check in list_spot_checks(desk.ledger)} & answers
    planned = planned_agreement(floor)
    return QualifyingRatings(
        rated=len(rated),
        needed=needed_ratings(planned, floor) or 0,
        likely=needed_ratings(planned, floor, PLANNED_CHANCE) or 0,
        answers=len(answers),
    )


def open_next_check(desk: Desk, context: RequestContext) -> Response:
    """Redirect to the next answer that this user has not rated, or to the list."""
    judged, notice = desk.judged_answers.latest(), context.query_param("notice")
    sample = [] if judged is None else select_answers_to_rate(desk, judged)
    for answer in list_unrated(desk, context.user.name, sample, after=context.query_param("after")):
        if judged is not None and find_visible_exchange(desk, judged, answer) is not None:
            return redirect_to(_add_notice(f"/spot-checks/{answer.answer_id}", notice))
    return redirect_to(_add_notice("/spot-checks", notice or "all_rated"))


def show_check(desk: Desk, context: RequestContext) -> Response:
    opened = _find_check(desk, context)
    if opened.answer.answer_id in list_rated_answers(desk.ledger, context.user.name):
        return redirect_to(_add_notice("/spot-checks/next", "already_rated"))
    return _render_check(desk, context, opened)


def record_rating(desk: Desk, context: RequestContext) -> Response:
    """Record the rating and open the next answer."""
    opened = _find_check(desk, context)
    check = _read_rating(desk, context, opened.answer)
    if check is None:
        return _render_check(desk, context, opened, refusal=_NO_GRADE, status=400)
    try:
        is_first = add_spot_check(desk.ledger, check)
    except UnknownRecordError:
        raise _gone_error() from None
    except LedgerError as error:
        return _render_check(desk, context, opened, refusal=str(error), status=400)
    notice = "rated" if is_first else "already_rated"
    return redirect_to(f"/spot-checks/next?{urlencode({'after': opened.answer.answer_id, 'notice': notice})}")


def _read_rating(desk: Desk, context: RequestContext, answer: JudgedAnswer) -> SpotCheck | None:
    """The form's rating; None if a grade is missing or outside the scale."""
    score = _parse_grade(context.form.get_text("score"))
    chosen = {name: context.form.get_text(f"criterion_{name}") for name in _criterion_labels(desk)}
    parsed = {name: _parse_grade(text) for name, text in chosen.items() if text}
    criteria = {name: grade for name, grade in parsed.items() if grade is not None}
    if score is None or len(criteria) < len(parsed):
        return None
    return SpotCheck(
        example_id=answer.example_id,
        task=answer.task,
        model_fingerprint=answer.model_fingerprint,
        answer_fingerprint=answer.answer_fingerprint,
        subject_key=answer.subject_key,
        rater=context.user.name,
        score=score,
        error_kind=context.form.get_text("error_kind"),
        rated_at=context.now,
        criteria=criteria,
    )


def _criterion_labels(desk: Desk) -> dict[str, str]:
    """Name → label of the criteria of the recipe's rubric."""
    return {one.name: one.name.replace("_", " ") for one in read_recipe_rubric(desk.read_recipe())}


def _needed_criteria(desk: Desk) -> frozenset[str]:
    """Criteria whose ratings qualify the judge: those that it compares with the reference."""
    recipe = desk.read_recipe()
    if not needs_own_ratings(recipe):
        return frozenset()
    return frozenset(one.name for one in read_recipe_rubric(recipe) if one.measured_by == "reference")


def _parse_grade(text: str) -> int | None:
    return int(text) if text in _GRADES else None


def _find_check(desk: Desk, context: RequestContext) -> _OpenCheck:
    """Raises PageError if the answer is not in the sample, or may no longer be shown."""
    judged, answer_id = desk.judged_answers.latest(), context.path_param("answer_id")
    if judged is not None:
        sample = select_answers_to_rate(desk, judged)
        answer = next((a for a in sample if a.answer_id == answer_id), None)
        exchange = None if answer is None else find_visible_exchange(desk, judged, answer)
        if answer is not None and exchange is not None:
            return _OpenCheck(sample, answer, exchange)
    raise _gone_error()


def _gone_error() -> PageError:
    return PageError(
        404,
        "Answer not found",
        "Newer answers were graded, or this one may no longer be shown. Take the next one.",
    )


def _render_check(
    desk: Desk, context: RequestContext, opened: _OpenCheck, refusal: str = "", status: int = 200
) -> Response:
    return render_page(
        desk,
        context,
        "spot_check.html",
        status=status,
        answer_id=opened.answer.answer_id,
        task=opened.answer.task,
        exchange=opened.exchange,
        left=len(list_unrated(desk, context.user.name, opened.answers)),
        scale=SCALE,
        kinds=ERROR_KINDS,
        keys=ERROR_SHORTCUTS,
        criteria=_criterion_labels(desk),
        needed=_needed_criteria(desk),
        chosen=_read_choices(desk, context),
        refusal=refusal,
    )


def _read_choices(desk: Desk, context: RequestContext) -> Mapping[str, str]:
    names = ("score", "error_kind", *(f"criterion_{name}" for name in _criterion_labels(desk)))
    return {name: context.form.get_text(name) for name in names}


def _add_notice(path: str, notice: str) -> str:
    return f"{path}?{urlencode({'notice': notice})}" if notice else path
