"""Blind spot checks over HTTP: what raters see, and how ratings are recorded."""

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
import yaml

from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.reviews.decision_records import list_decisions
from fine_tune_assets.ledger.reviews.erasures import list_erasures, record_erasure
from fine_tune_assets.ledger.reviews.spot_check_ratings import list_spot_checks
from fine_tune_assets.lineage.erasure import build_erasure_steps, find_subject_ids
from fine_tune_assets_tests.desk.conftest import Site, Visitor
from fine_tune_assets_tests.desk.installation import MISSED, drafts_of
from fine_tune_assets_tests.desk.judged_drafts import ADAPTER, BASE, SYSTEM, WHY, id_of, judge_the_drafts, regrade

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
    """Add a user and sign in. Tests add only the users that they need, because hashing a password is slow."""
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


def of_subject(scores: list[dict[str, Any]], subject_key: str) -> set[str]:
    return {id_of(row) for row in scores if row["subject_key"] == subject_key}


def test_each_rater_gets_every_answer_once_and_in_a_different_order(site: Site, scores: list[dict[str, Any]]) -> None:
    """Both models gave the same answer to the first example, so it is rated once."""
    one, two = listed(enter(site, "Expert")), listed(enter(site, "Second"))
    assert set(one) == set(two) == {id_of(row) for row in scores}
    assert len(one) == len(scores) - 1
    assert one != two


def test_raters_never_see_grade_model_reference_or_example(site: Site, scores: list[dict[str, Any]]) -> None:
    """Each of these would bias the rating."""
    expert = enter(site, "Expert")
    drafts = {draft["example_id"]: draft for draft in drafts_of(site.settings)}
    pages = [expert.get("/spot-checks").text]
    for row in scores:
        shown = unescape(expert.get(f"/spot-checks/{id_of(row)}").text)
        assert row["answer"] in shown
        secrets = (BASE, ADAPTER, WHY, SYSTEM, row["example_id"], str(row["score"]), ".2371", ".9371", "judge_version")
        assert [word for word in secrets if word in shown] == []
        draft = drafts[row["example_id"]]
        assert draft["output"] in draft["input"] or draft["output"] not in shown
        pages.append(shown)
    assert [word for word in ("adapter", "incumbent", "candidate", "baseline") if word in "".join(pages)] == []


def test_a_rating_is_recorded_with_its_name_and_the_next_answer_follows(
    site: Site, scores: list[dict[str, Any]]
) -> None:
    """Criteria without a rating are absent, not 0."""
    expert, row = enter(site, "Expert"), scores[3]
    reply = rate(expert, id_of(row), criterion_tone="9", criterion_format="")
    assert reply.status_code == 303
    after = expert.get(reply.headers["location"])
    assert after.headers["location"].endswith("?notice=rated")
    (kept,) = list_spot_checks(site.ledger)
    assert (kept.rater, kept.score, kept.error_kind, dict(kept.criteria)) == ("Expert", 4, "omission", {"tone": 9})
    assert (kept.example_id, kept.subject_key, kept.task) == (row["example_id"], row["subject_key"], "chief_complaint")
    assert id_of(row) not in listed(expert)
    assert id_of(row) in listed(enter(site, "Second"))
    assert [(x.actor, x.resource) for x in audit.list_entries(site.ledger) if x.action == "rated an answer"] == [
        ("Expert", f"answer {id_of(row)}")
    ]


def test_a_repeated_rating_is_ignored(site: Site, scores: list[dict[str, Any]]) -> None:
    """After a double click, the back button or a change of mind, the first rating counts."""
    expert, answer_id = enter(site, "Expert"), id_of(scores[2])
    rate(expert, answer_id)
    again = rate(expert, answer_id, score="9")
    assert "notice=already_rated" in again.headers["location"]
    assert "notice=already_rated" in expert.get(f"/spot-checks/{answer_id}").headers["location"]
    assert [check.score for check in list_spot_checks(site.ledger)] == [4]


def test_an_invalid_rating_is_refused_and_the_choices_are_kept(site: Site, scores: list[dict[str, Any]]) -> None:
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


def test_an_erased_subject_disappears_at_once(site: Site, scores: list[dict[str, Any]]) -> None:
    """When the erasure is recorded, before any file is rewritten, and after the set is removed."""
    expert, subject_key = enter(site, "Expert"), scores[2]["subject_key"]
    theirs = of_subject(scores, subject_key)
    rate(expert, next(iter(theirs)))
    ids = find_subject_ids(site.settings.layout, subject_key)
    record_erasure(site.ledger, subject_key=subject_key, by="officer", reason="Art. 17", ids=ids)
    assert not theirs & set(listed(expert))
    second = enter(site, "Second")
    for answer_id in theirs:
        assert expert.get(f"/spot-checks/{answer_id}").status_code == 404
        assert rate(second, answer_id).status_code == 404
    (erasure,) = list_erasures(site.ledger)
    for _, step in build_erasure_steps(site.settings.layout, site.ledger, erasure):
        step()
    assert list_spot_checks(site.ledger) == []
    assert listed(expert) == []
    assert "No answer may be shown" in expert.get("/spot-checks").text


def test_an_example_that_is_no_longer_approved_is_not_shown(site: Site, scores: list[dict[str, Any]]) -> None:
    """Such an example is not used for evaluation either."""
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


def test_an_answer_with_a_marked_identifier_is_not_shown(site: Site, scores: list[dict[str, Any]]) -> None:
    """Also if only the answer contains it: the model may have memorized it."""
    expert = enter(site, "Expert")
    marked = next(draft for draft in drafts_of(site.settings) if MISSED in draft["input"])
    theirs = of_subject(scores, marked["subject_key"])
    form = {"kind": "NAME", "term": MISSED}
    assert expert.post(f"/items/{marked['example_id']}/mark", form, page="/account").status_code == 303
    assert not theirs & set(listed(expert))
    assert expert.get(f"/spot-checks/{next(iter(theirs))}").status_code == 404


def test_a_set_without_provenance_shows_nothing(site: Site, scores: list[dict[str, Any]]) -> None:
    """For a set of an older version, it is unknown whether its examples are still approved."""
    for path in site.settings.layout.instruction_sets.glob("*/provenance.parquet"):
        path.unlink()
    expert = enter(site, "Expert")
    assert listed(expert) == []
    assert expert.get(f"/spot-checks/{id_of(scores[2])}").status_code == 404


def test_new_grades_bring_new_answers_and_the_old_ratings_stay(site: Site, scores: list[dict[str, Any]]) -> None:
    """A changed table is read again."""
    expert = enter(site, "Expert")
    rate(expert, id_of(scores[2]))
    regrade(site.settings, answer="The same words for every example.")
    shown = set(listed(expert))
    assert len(shown) == len({row["example_id"] for row in scores})
    assert not shown & {id_of(row) for row in scores}
    assert len(list_spot_checks(site.ledger)) == 1


@pytest.mark.usefixtures("scores")
def test_the_recipe_sets_the_sample_size(site: Site) -> None:
    """A change takes effect without a restart."""
    path = site.settings.data_dir / "recipe.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    expert = enter(site, "Expert")
    for count, expected in ((3, 3), (0, 0)):
        values["judge"]["spot_checks"] = count
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        assert len(listed(expert)) == expected
    assert "judge.spot_checks" in expert.get("/spot-checks").text


def test_experts_rate_the_criteria_of_the_recipes_rubric(site: Site, scores: list[dict[str, Any]]) -> None:
    """The judge is measured against them, criterion by criterion."""
    path = site.settings.data_dir / "recipe.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    values["judge"]["rubric"] = [
        {"name": "clarity", "weight": 1, "measured_by": "model", "best": "Clear.", "worst": "Opaque."}
    ]
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    expert, answer_id = enter(site, "Expert"), id_of(scores[0])
    assert re.findall(r'name="criterion_(\w+)"', expert.get(f"/spot-checks/{answer_id}").text) == ["clarity"]
    rate(expert, answer_id, criterion_clarity="8", criterion_tone="3")
    (kept,) = list_spot_checks(site.ledger)
    assert dict(kept.criteria) == {"clarity": 8}


def test_without_graded_answers_there_is_nothing_to_rate(site: Site) -> None:
    expert = enter(site, "Expert")
    assert "No graded answers yet" in expert.get("/spot-checks").text
    assert expert.get("/spot-checks/next").headers["location"] == "/spot-checks?notice=all_rated"


def test_only_approvers_see_the_comparison_with_the_judge_and_only_after_rating_everything(
    site: Site, scores: list[dict[str, Any]]
) -> None:
    """An earlier look would reveal the judge's grades of unrated answers."""
    both, chief = enter(site, "Both"), enter(site, "Chief")
    assert "No answer of the current sample has been rated" in chief.get("/agreement").text
    rate_all(enter(site, "Expert"), scores, lambda row: max(1, min(10, round(row["score"]))))
    assert "You have 11 answers to rate blindly" in both.get("/agreement").text
    assert "Spearman" not in both.get("/agreement").text
    assert "h-judge" in both.get("/agreement").text
    assert "h-judge" not in enter(site, "Auditor").get("/agreement").text
    shown = chief.get("/agreement").text
    number = r'<td class="number" data-label="\w+">(?:<strong>)?([0-9.]+)(?:</strong>)?</td>\s*'
    row = re.search(rf"All tasks</th>{number}{number}{number}", shown)
    assert row is not None
    assert (row[1], row[2]) == ("11", "1")
    assert float(row[3]) > 0.9
    rate_all(both, scores, lambda _: 5)
    assert "Spearman" in both.get("/agreement").text


def test_only_reviewers_can_rate(site: Site, scores: list[dict[str, Any]]) -> None:
    """Auditors and approvers can't rate."""
    for name in ("Auditor", "Chief"):
        assert rate(enter(site, name), id_of(scores[2])).status_code == 403
    assert list_spot_checks(site.ledger) == []


def test_in_a_new_domain_the_page_says_how_many_ratings_qualify_the_judge(
    ward: Ward,
) -> None:
    """Whoever rates counts, and completeness, which qualifies the judge, can't be left out."""
    site = ward(fields={"domain": "law"})
    scores = judge_the_drafts(site.settings, site.ledger)
    expert = enter(site, "Expert")
    page = expert.get("/spot-checks").text
    assert "Qualify the judge" in page
    assert "0 of 66" in page
    answer_id = listed(expert)[0]
    form = expert.get(f"/spot-checks/{answer_id}").text
    assert re.search(r'name="criterion_completeness" required', form)
    assert not re.search(r'name="criterion_tone" required', form)
    rate(expert, answer_id, criterion_completeness="5")
    assert "1 of 66" in enter(site, "Second").get("/spot-checks").text
    assert f"only {len({id_of(row) for row in scores})} answers" in page


def test_the_clinical_page_asks_for_no_more_than_the_recipe(site: Site, scores: list[dict[str, Any]]) -> None:
    """The shipped ratings are clinical."""
    assert scores
    assert "Qualify the judge" not in enter(site, "Expert").get("/spot-checks").text
