"""Blind spot-checks over HTTP: what a rater sees and does not see, and what becomes of a rating."""

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
import yaml

from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.reviews.erasures import list_erasures, record_erasure
from fine_tune_assets.ledger.reviews.reviews import list_decisions
from fine_tune_assets.ledger.reviews.spot_checks import list_spot_checks
from fine_tune_assets.lineage.erasure import erasing_steps, find_patient
from fine_tune_assets_tests.desk.conftest import Site, Visitor
from fine_tune_assets_tests.desk.installation import MISSED, drafts_of
from fine_tune_assets_tests.desk.judged import ADAPTER, BASE, SYSTEM, WHY, id_of, judge_the_drafts, regrade

Ward = Callable[..., Site]
RATING = {"score": "4", "error_kind": "omission"}


ROLES = {
    "Expert": ["reviewer"],
    "Second": ["reviewer"],
    "Chief": ["approver"],
    "Both": ["reviewer", "approver"],
    "Auditor": ["auditor"],
}


@pytest.fixture
def site(ward: Ward) -> Site:
    return ward()


def enter(site: Site, name: str) -> Visitor:
    """Add a user and sign in. Only whom a test needs: a password takes long to hash."""
    site.add(name, *ROLES[name])
    return site.signed_in(name)


@pytest.fixture
def scores(site: Site) -> list[dict[str, Any]]:
    return judge_the_drafts(site.settings, site.ledger)


def listed(visitor: Visitor) -> list[str]:
    return re.findall(r'<a href="/spot-checks/([0-9a-f]{16})"', visitor.get("/spot-checks").text)


def rate(visitor: Visitor, answer_id: str, **changes: str) -> Any:
    return visitor.post(f"/spot-checks/{answer_id}/rate", {**RATING, **changes}, page="/account")


def rate_all(visitor: Visitor, scores: list[dict[str, Any]], of: Callable[[dict[str, Any]], int]) -> None:
    for row in {id_of(row): row for row in scores}.values():
        rate(visitor, id_of(row), score=str(of(row)), error_kind="none")


def of_patient(scores: list[dict[str, Any]], patient: str) -> set[str]:
    return {id_of(row) for row in scores if row["patient_key"] == patient}


def test_a_rater_is_asked_about_every_answer_once_and_each_in_another_order(
    site: Site, scores: list[dict[str, Any]]
) -> None:
    """Two models gave the same answer to the first example: it is read once."""
    one, two = listed(enter(site, "Expert")), listed(enter(site, "Second"))
    assert set(one) == set(two) == {id_of(row) for row in scores}
    assert len(one) == len(scores) - 1
    assert one != two


def test_no_page_of_a_rater_holds_grade_model_reference_or_example(site: Site, scores: list[dict[str, Any]]) -> None:
    """Whoever knows one of these rates something else than the answer."""
    expert = enter(site, "Expert")
    drafts = {draft["example_id"]: draft for draft in drafts_of(site.settings)}
    pages = [expert.get("/spot-checks").text]
    for row in scores:
        shown = unescape(expert.get(f"/spot-checks/{id_of(row)}").text)
        assert row["answer"] in shown
        told = (BASE, ADAPTER, WHY, SYSTEM, row["example_id"], str(row["score"]), ".2371", ".9371", "judge_version")
        assert [word for word in told if word in shown] == []
        draft = drafts[row["example_id"]]
        assert draft["output"] in draft["input"] or draft["output"] not in shown
        pages.append(shown)
    assert [word for word in ("adapter", "incumbent", "candidate", "baseline") if word in "".join(pages)] == []


def test_a_rating_is_recorded_with_its_name_and_the_next_answer_follows(
    site: Site, scores: list[dict[str, Any]]
) -> None:
    """Criteria that were left open are absent, not 0."""
    expert, row = enter(site, "Expert"), scores[3]
    reply = rate(expert, id_of(row), criterion_tone="9", criterion_format="")
    assert reply.status_code == 303
    after = expert.get(reply.headers["location"])
    assert after.headers["location"].endswith("?said=rated")
    (kept,) = list_spot_checks(site.ledger)
    assert (kept.rater, kept.score, kept.error_kind, dict(kept.criteria)) == ("Expert", 4, "omission", {"tone": 9})
    assert (kept.example_id, kept.patient_key, kept.task) == (row["example_id"], row["patient_key"], "chief_complaint")
    assert id_of(row) not in listed(expert)
    assert id_of(row) in listed(enter(site, "Second"))
    assert [(x.who, x.about) for x in audit.lines(site.ledger) if x.what == "rated an answer"] == [
        ("Expert", f"answer {id_of(row)}")
    ]


def test_sending_twice_stores_one_and_the_first_one_stands(site: Site, scores: list[dict[str, Any]]) -> None:
    """A double click, the back button, or second thoughts after the next answer."""
    expert, answer_id = enter(site, "Expert"), id_of(scores[2])
    rate(expert, answer_id)
    again = rate(expert, answer_id, score="9")
    assert "said=already" in again.headers["location"]
    assert "said=already" in expert.get(f"/spot-checks/{answer_id}").headers["location"]
    assert [check.score for check in list_spot_checks(site.ledger)] == [4]


def test_what_is_no_rating_is_refused_and_what_was_chosen_stays(site: Site, scores: list[dict[str, Any]]) -> None:
    """A forgotten grade must not become a bad one."""
    expert = enter(site, "Expert")
    for name, wrong in (
        *(("score", text) for text in ("", "0", "11", "4.5", "½")),
        *(("error_kind", text) for text in ("", "typo")),
        ("criterion_tone", "0"),
    ):
        reply = rate(expert, id_of(scores[2]), **{"criterion_completeness": "7", name: wrong})
        assert reply.status_code == 400, (name, wrong)
        assert 'role="alert"' in reply.text
        assert "<option selected>7</option>" in reply.text
    assert list_spot_checks(site.ledger) == []


def test_a_patient_who_was_erased_is_gone_at_once(site: Site, scores: list[dict[str, Any]]) -> None:
    """From the tombstone on, before a single file was written again; and with the set, when that is gone."""
    expert, patient = enter(site, "Expert"), scores[2]["patient_key"]
    theirs = of_patient(scores, patient)
    rate(expert, next(iter(theirs)))
    ids = find_patient(site.settings.layout, patient)
    record_erasure(site.ledger, patient_key=patient, by="officer", reason="Art. 17", ids=ids)
    assert not theirs & set(listed(expert))
    second = enter(site, "Second")
    for answer_id in theirs:
        assert expert.get(f"/spot-checks/{answer_id}").status_code == 404
        assert rate(second, answer_id).status_code == 404
    (erasure,) = list_erasures(site.ledger)
    for _, step in erasing_steps(site.settings.layout, site.ledger, erasure):
        step()
    assert list_spot_checks(site.ledger) == []
    assert listed(expert) == []
    assert "Nothing may be shown now" in expert.get("/spot-checks").text


def test_an_example_that_is_not_approved_any_more_is_not_shown(site: Site, scores: list[dict[str, Any]]) -> None:
    """Nothing is judged on it any more either."""
    expert, row = enter(site, "Expert"), scores[2]
    decision = next(d for d in list_decisions(site.ledger) if d.example_id == row["example_id"])
    chief = enter(site, "Chief")
    assert (
        chief.post(f"/decisions/{decision.decision_id}/revoke", {"reason": "slip"}, page="/account").status_code == 303
    )
    shown = set(listed(expert))
    assert not {id_of(r) for r in scores if r["example_id"] == row["example_id"]} & shown
    assert shown
    assert expert.get(f"/spot-checks/{id_of(row)}").status_code == 404


def test_what_holds_a_marked_identifier_is_not_shown(site: Site, scores: list[dict[str, Any]]) -> None:
    """In its report, or only in what a model answered: the model may have learned it."""
    expert = enter(site, "Expert")
    marked = next(draft for draft in drafts_of(site.settings) if MISSED in draft["input"])
    theirs = of_patient(scores, marked["patient_key"])
    form = {"kind": "NAME", "term": MISSED}
    assert expert.post(f"/items/{marked['example_id']}/mark", form, page="/account").status_code == 303
    assert not theirs & set(listed(expert))
    assert expert.get(f"/spot-checks/{next(iter(theirs))}").status_code == 404


def test_a_set_that_does_not_say_by_whom_it_was_approved_shows_nothing(
    site: Site, scores: list[dict[str, Any]]
) -> None:
    """Of before provenance was kept: nobody can tell whether its examples still stand."""
    for path in site.settings.layout.instruction_sets.glob("*/provenance.parquet"):
        path.unlink()
    expert = enter(site, "Expert")
    assert listed(expert) == []
    assert expert.get(f"/spot-checks/{id_of(scores[2])}").status_code == 404


def test_new_grades_bring_new_answers_and_the_old_ratings_stay(site: Site, scores: list[dict[str, Any]]) -> None:
    """The table is read again when it is another one."""
    expert = enter(site, "Expert")
    rate(expert, id_of(scores[2]))
    regrade(site.settings, answer="The same words to everybody.")
    shown = set(listed(expert))
    assert len(shown) == len({row["example_id"] for row in scores})
    assert not shown & {id_of(row) for row in scores}
    assert len(list_spot_checks(site.ledger)) == 1


@pytest.mark.usefixtures("scores")
def test_how_many_are_asked_about_is_the_recipes(site: Site) -> None:
    """With the next page, without a restart."""
    path = site.settings.data_dir / "recipe.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    expert = enter(site, "Expert")
    for count, expected in ((3, 3), (0, 0)):
        values["judge"]["spot_checks"] = count
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        assert len(listed(expert)) == expected
    assert "judge.spot_checks" in expert.get("/spot-checks").text


def test_before_anything_was_judged_there_is_nothing_to_rate(site: Site) -> None:
    expert = enter(site, "Expert")
    assert "Nothing was judged yet" in expert.get("/spot-checks").text
    assert expert.get("/spot-checks/next").headers["location"] == "/spot-checks?said=all_rated"


def test_only_approvers_see_how_the_judge_compares_and_raters_among_them_when_they_are_done(
    site: Site, scores: list[dict[str, Any]]
) -> None:
    """To see it before would tell what the judge thinks of what is still to be rated."""
    both, chief = enter(site, "Both"), enter(site, "Chief")
    assert "Nobody has rated" in chief.get("/agreement").text
    rate_all(enter(site, "Expert"), scores, lambda row: max(1, min(10, round(row["score"]))))
    assert "You may still rate 11 answers blindly" in both.get("/agreement").text
    assert "Spearman" not in both.get("/agreement").text
    assert "The judge beside experts" not in enter(site, "Auditor").get("/agreement").text
    shown = chief.get("/agreement").text
    number = r'<td class="number">(?:<strong>)?([0-9.]+)(?:</strong>)?</td>\s*'
    row = re.search(rf"all tasks</th>{number}{number}{number}", shown)
    assert row is not None
    assert (row[1], row[2]) == ("11", "1")
    assert float(row[3]) > 0.9
    rate_all(both, scores, lambda _: 5)
    assert "Spearman" in both.get("/agreement").text


def test_a_rating_of_nobody_is_none(site: Site, scores: list[dict[str, Any]]) -> None:
    """Auditors and approvers read; they are not asked."""
    for name in ("Auditor", "Chief"):
        assert rate(enter(site, name), id_of(scores[2])).status_code == 403
    assert list_spot_checks(site.ledger) == []
