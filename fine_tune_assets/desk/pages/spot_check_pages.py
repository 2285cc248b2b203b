"""Blind spot-checks: an expert rates an answer by its input alone.

Neither grade, band, model nor reference is on these pages, nor the example's id, by which the reference could be looked up. An
answer is not shown if its patient was erased, its example is no longer approved, or somebody marked an identifier in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.responses import Response

from fine_tune_assets.approval.still_approved import decided_about, fallen_in
from fine_tune_assets.core.error_kinds import ERROR_KINDS
from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.errors import PageError
from fine_tune_assets.desk.judged_answers import Exchange, Judged
from fine_tune_assets.desk.rendering import go_to, page
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.judging.judges.grades import CRITERIA
from fine_tune_assets.judging.judges.spot_checks import JudgedAnswer, in_order_for
from fine_tune_assets.ledger.errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.reviews.erasures import erased_patients
from fine_tune_assets.ledger.reviews.spot_checks import HIGHEST, LOWEST, SpotCheck, add_spot_check, answers_rated_by
from fine_tune_assets.tables.instructions import ProvenanceRow


def answers_to_rate(desk: Desk, judged: Judged) -> list[JudgedAnswer]:
    """In the order of the sample; empty once a patient of the set was erased, since its texts are gone."""
    recipe, stored = desk.recipe(), desk.judged.set_of(judged)
    chosen = desk.judged.to_rate(judged, recipe.judge.spot_checks, str(recipe.training.seed))
    if stored is None or stored.erased is not None or not chosen:
        return []
    rows = [ProvenanceRow.of(row) for row in stored.rows("example_id", *(c.example_id for c in chosen))]
    corrections = desk.settings.layout.table("scrubbed_corrections")
    fallen = fallen_in(rows, decided_about(desk.ledger, rows, corrections, recipe.review))
    standing = {row.example_id for row in rows} - fallen.keys() - desk.held_back.example_ids()
    erased = erased_patients(desk.ledger)
    return [answer for answer in chosen if answer.example_id in standing and answer.patient_key not in erased]


def left_for(desk: Desk, rater: str, asked: Sequence[JudgedAnswer], after: str = "") -> list[JudgedAnswer]:
    """Of these, those that this person has not rated, in the order in which they are asked; behind an answer, and then around."""
    order = in_order_for(rater, asked, str(desk.recipe().training.seed))
    passed = next((place + 1 for place, answer in enumerate(order) if answer.answer_id == after), 0)
    rated = answers_rated_by(desk.ledger, rater)
    return [answer for answer in (*order[passed:], *order[:passed]) if answer.answer_id not in rated]


def exchange_to_show(desk: Desk, judged: Judged, answer: JudgedAnswer) -> Exchange | None:
    """The texts; None if they are gone, or hold what somebody marked as an identifier of the patient."""
    found = desk.judged.exchange(judged, answer)
    if found is None or desk.held_back.holds(answer.patient_key, f"{found.question}\n{found.answer}"):
        return None
    return found


PAGE_ITEMS = 50
SCALE = tuple(range(LOWEST, HIGHEST + 1))
ERROR_KEYS = dict(zip(ERROR_KINDS, "owhdsyitfrx", strict=True))
"""Kind of error → the key that chooses it."""
CRITERIA_IN_WORDS = {name: name.replace("_", " ") for name in CRITERIA}
_GRADES = frozenset(map(str, SCALE))
_NO_GRADE = f"Choose a grade from {LOWEST} to {HIGHEST}. Nothing was recorded."


@dataclass(frozen=True)
class _Opened:
    asked: list[JudgedAnswer]
    answer: JudgedAnswer
    exchange: Exchange


def show_spot_checks(desk: Desk, visit: Visit) -> Response:
    judged = desk.judged.latest()
    asked = [] if judged is None else answers_to_rate(desk, judged)
    waiting = left_for(desk, visit.who.name, asked)
    return page(
        desk,
        visit,
        "spot_checks.html",
        rows=waiting[:PAGE_ITEMS],
        waiting=len(waiting),
        total=len(asked),
        is_asked=desk.recipe().judge.spot_checks > 0,
        is_judged=judged is not None,
    )


def open_next_check(desk: Desk, visit: Visit) -> Response:
    """Lead to the next answer that this person has not rated; to the list if there is none."""
    judged, said = desk.judged.latest(), visit.query("said")
    asked = [] if judged is None else answers_to_rate(desk, judged)
    for answer in left_for(desk, visit.who.name, asked, after=visit.query("after")):
        if judged is not None and exchange_to_show(desk, judged, answer) is not None:
            return go_to(_with(f"/spot-checks/{answer.answer_id}", said))
    return go_to(_with("/spot-checks", said or "all_rated"))


def show_check(desk: Desk, visit: Visit) -> Response:
    opened = _find(desk, visit)
    if opened.answer.answer_id in answers_rated_by(desk.ledger, visit.who.name):
        return go_to(_with("/spot-checks/next", "already"))
    return _check_page(desk, visit, opened)


def rate(desk: Desk, visit: Visit) -> Response:
    """Record the rating, and go on to the next answer."""
    opened = _find(desk, visit)
    check = _rating(visit, opened.answer)
    if check is None:
        return _check_page(desk, visit, opened, refusal=_NO_GRADE, status=400)
    try:
        is_first = add_spot_check(desk.ledger, check)
    except UnknownRecordError:
        raise _gone() from None
    except LedgerError as error:
        return _check_page(desk, visit, opened, refusal=str(error), status=400)
    said = "rated" if is_first else "already"
    return go_to(f"/spot-checks/next?{urlencode({'after': opened.answer.answer_id, 'said': said})}")


def _rating(visit: Visit, answer: JudgedAnswer) -> SpotCheck | None:
    """What the form says; None if a grade is missing or on no scale."""
    score = _grade(visit.form.text("score"))
    chosen = {name: visit.form.text(f"criterion_{name}") for name in CRITERIA}
    asked = {name: _grade(text) for name, text in chosen.items() if text}
    criteria = {name: grade for name, grade in asked.items() if grade is not None}
    if score is None or len(criteria) < len(asked):
        return None
    return SpotCheck(
        example_id=answer.example_id,
        task=answer.task,
        model_fingerprint=answer.model_fingerprint,
        answer_fingerprint=answer.answer_fingerprint,
        patient_key=answer.patient_key,
        rater=visit.who.name,
        score=score,
        error_kind=visit.form.text("error_kind"),
        rated_at=visit.now,
        criteria=criteria,
    )


def _grade(text: str) -> int | None:
    return int(text) if text in _GRADES else None


def _find(desk: Desk, visit: Visit) -> _Opened:
    """Raises PageError if it is not asked about, or may not be shown any more."""
    judged, asked = desk.judged.latest(), visit.path("answer_id")
    if judged is not None:
        sampled = answers_to_rate(desk, judged)
        answer = next((a for a in sampled if a.answer_id == asked), None)
        exchange = None if answer is None else exchange_to_show(desk, judged, answer)
        if answer is not None and exchange is not None:
            return _Opened(sampled, answer, exchange)
    raise _gone()


def _gone() -> PageError:
    return PageError(
        404, "This answer is gone", "Others were graded since, or it may not be shown any more. Take the next one."
    )


def _check_page(desk: Desk, visit: Visit, opened: _Opened, refusal: str = "", status: int = 200) -> Response:
    return page(
        desk,
        visit,
        "spot_check.html",
        status=status,
        answer_id=opened.answer.answer_id,
        task=opened.answer.task,
        exchange=opened.exchange,
        left=len(left_for(desk, visit.who.name, opened.asked)),
        scale=SCALE,
        kinds=ERROR_KINDS,
        keys=ERROR_KEYS,
        criteria=CRITERIA_IN_WORDS,
        chosen=_chosen(visit),
        refusal=refusal,
    )


def _chosen(visit: Visit) -> Mapping[str, str]:
    names = ("score", "error_kind", *(f"criterion_{name}" for name in CRITERIA))
    return {name: visit.form.text(name) for name in names}


def _with(path: str, said: str) -> str:
    return f"{path}?{urlencode({'said': said})}" if said else path
