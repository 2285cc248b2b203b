"""Which of the judged answers a person is asked to rate now, and their texts.

Owns what keeps an answer from being shown: its patient was erased, its example is not approved any more, or somebody marked an
identifier in it.
"""

from collections.abc import Sequence

from fine_tune_assets.approval.still_approved import decided_about, fallen_in
from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.judged_answers import Exchange, Judged
from fine_tune_assets.judging.spot_checks import JudgedAnswer, in_order_for
from fine_tune_assets.ledger.erasures import erased_patients
from fine_tune_assets.ledger.spot_checks import answers_rated_by


def answers_to_rate(desk: Desk, judged: Judged) -> list[JudgedAnswer]:
    """In the order of the sample; empty once a patient of the set was erased, since its texts are gone."""
    recipe, stored = desk.recipe(), desk.judged.set_of(judged)
    chosen = desk.judged.to_rate(judged, recipe.judge.spot_checks, str(recipe.training.seed))
    if stored is None or stored.erased is not None or not chosen:
        return []
    rows = stored.rows("example_id", *(c.example_id for c in chosen))
    corrections = desk.settings.layout.table("scrubbed_corrections")
    fallen = fallen_in(rows, decided_about(desk.ledger, rows, corrections, recipe.review))
    standing = {row["example_id"] for row in rows} - fallen.keys() - desk.held_back.example_ids()
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
