"""The pages of graded answers: statements with their evidence, and an expert who overrules the judge."""

import json
import re
from collections.abc import Callable
from html import unescape
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.desk.pages.graded_answer_pages import PAGE_ITEMS
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.reviews.decision_records import list_decisions
from fine_tune_assets.ledger.reviews.erasures import record_erasure
from fine_tune_assets.ledger.reviews.statement_labels import list_statement_labels, read_labelled_statements
from fine_tune_assets.lineage.erasure import find_subject_ids
from fine_tune_assets.tables.judging_rows import JudgeScore
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets_tests.desk.conftest import Site, Visitor
from fine_tune_assets_tests.desk.installation import MISSED, drafts_of
from fine_tune_assets_tests.desk.judged_drafts import (
    ACCURACY,
    ADAPTER,
    COUNTED,
    INVENTED_SIDE,
    UNMENTIONED,
    judge_the_drafts,
    regrade,
)

Scores = list[dict[str, Any]]


@pytest.fixture
def site(ward: Callable[..., Site]) -> Site:
    return ward()


@pytest.fixture
def scores(site: Site) -> Scores:
    return judge_the_drafts(site.settings, site.ledger)


@pytest.fixture
def chief(site: Site, scores: Scores) -> Visitor:  # noqa: ARG001 the answers come first
    return enter(site, "Chief", "approver")


def enter(site: Site, name: str, *roles: str) -> Visitor:
    site.add(name, *roles)
    return site.signed_in(name)


def wrong(scores: Scores) -> dict[str, Any]:
    """A candidate's answer with a contradicted statement."""
    return next(row for row in scores if row["model"] == "adapter" and INVENTED_SIDE in row["statements"])


def path_of(row: dict[str, Any]) -> str:
    return f"/graded-answers/{row['example_id']}"


def form_of(row: dict[str, Any], support: str, text: str = INVENTED_SIDE) -> dict[str, object]:
    return {
        "answer": fingerprint_text(row["answer"]),
        "statement": fingerprint_text(text),
        "criterion": ACCURACY,
        "support": support,
    }


def overrule(
    visitor: Visitor, row: dict[str, Any], support: str, changes: dict[str, object] | None = None
) -> httpx.Response:
    return visitor.post(f"{path_of(row)}/label", form_of(row, support) | (changes or {}), page="/account")


def find_statement(page: str, text: str) -> str:
    """The first statement with this text, as its part of the page."""
    return next(part for part in re.findall(r"<li id=.*?</li>", page, re.DOTALL) if text in unescape(part))


def list_examples(page: str) -> list[str]:
    """Of the list's rows, in order."""
    return re.findall(r'<th scope="row">.*?href="/graded-answers/([^"]+)"', page)


def test_a_page_shows_grades_and_statements_of_both_models_with_their_evidence(scores: Scores, chief: Visitor) -> None:
    row = wrong(scores)
    base = next(found for found in scores if found["model"] == "base" and found["example_id"] == row["example_id"])
    shown = chief.get(path_of(row)).text
    for text in (
        row["answer"],
        base["answer"],
        COUNTED,
        "Statements of the answer",
        "Statements of the approved answer",
    ):
        assert text in unescape(shown), text
    side = find_statement(shown, INVENTED_SIDE)
    line = json.loads(row["statements"])[1]["evidence"]
    assert line in unescape(side)
    for part in ("Contradicted", "5 %", "sides"):
        assert part in side, part
    assert "No line of the record" in find_statement(shown, UNMENTIONED)
    assert "Not mentioned" in find_statement(shown, UNMENTIONED)


def test_an_expert_overrules_a_statement_with_one_click(site: Site, scores: Scores, chief: Visitor) -> None:
    """The label refers to the judge's row by fingerprints; its texts are for the training of a verifier."""
    row = wrong(scores)
    reply = overrule(chief, row, "supported")
    assert (reply.status_code, reply.headers["location"].partition("#")[0]) == (303, f"{path_of(row)}?notice=labelled")
    (label,) = list_statement_labels(site.ledger)
    assert (label.judge_support, label.support, label.labeller) == ("contradicted", "supported", "Chief")
    assert (label.subject_key, label.model_fingerprint) == (row["subject_key"], ADAPTER)
    assert (label.judge_probability, label.judge_version) == (0.05, row["judge_version"])
    assert label.statement_fingerprint == fingerprint_text(INVENTED_SIDE)
    ((_, texts),) = read_labelled_statements(site.ledger, read_or_create_key(site.settings.layout.keys, KEY_NAME))
    assert texts.statement == INVENTED_SIDE
    assert json.loads(row["statements"])[1]["evidence"] in texts.shown
    shown = chief.get(path_of(row)).text
    statement = find_statement(shown, INVENTED_SIDE)
    assert f'id="{reply.headers["location"].partition("#")[2]}"' in statement
    assert "Overruled by Chief" in statement
    assert re.search(r'value="supported" aria-pressed="true"', statement)
    assert INVENTED_SIDE not in str(audit.list_entries(site.ledger))


def test_the_judge_s_label_takes_an_overrule_back(site: Site, scores: Scores, chief: Visitor) -> None:
    row = wrong(scores)
    for support in ("supported", "contradicted"):
        assert overrule(chief, row, support).status_code == 303
    (label,) = list_statement_labels(site.ledger)
    assert not label.is_overruled
    assert "Overruled by" not in chief.get(path_of(row)).text
    assert len([e for e in audit.list_entries(site.ledger) if e.resource == f"statement {label.statement_id}"]) == 2


def test_two_experts_have_a_label_each(site: Site, scores: Scores, chief: Visitor) -> None:
    row = wrong(scores)
    overrule(chief, row, "supported")
    overrule(enter(site, "Deputy", "approver"), row, "not mentioned")
    assert [label.labeller for label in list_statement_labels(site.ledger)] == ["Chief", "Deputy"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"support": "maybe"}, 400),
        ({"support": ""}, 400),
        ({"statement": "0" * 64}, 409),
        ({"answer": "0" * 64}, 409),
        ({"criterion": "tone"}, 409),
    ],
    ids=str,
)
def test_an_unknown_statement_or_label_is_refused(
    site: Site, scores: Scores, chief: Visitor, changes: dict[str, object], status: int
) -> None:
    """After answers were graded again, an open page must not label others."""
    assert overrule(chief, wrong(scores), "supported", changes).status_code == status
    assert list_statement_labels(site.ledger) == []


def test_a_label_without_the_form_token_is_refused(site: Site, scores: Scores, chief: Visitor) -> None:
    row = wrong(scores)
    reply = chief.client.post(f"{path_of(row)}/label", data=form_of(row, "supported"), headers={"origin": site.url})
    assert reply.status_code == 403
    assert list_statement_labels(site.ledger) == []


@pytest.mark.parametrize("role", ["user", "reviewer", "operator", "auditor"])
def test_other_roles_read_and_label_nothing(site: Site, scores: Scores, role: str) -> None:
    visitor, row = enter(site, "Some One", role), wrong(scores)
    for path in ("/graded-answers", path_of(row)):
        assert visitor.get(path).status_code == 403
    assert overrule(visitor, row, "supported").status_code == 403
    assert list_statement_labels(site.ledger) == []


def test_an_approver_who_may_still_rate_blindly_reads_and_labels_nothing(site: Site, scores: Scores) -> None:
    """Grades and statements would bias the rating."""
    both, row = enter(site, "Both", "approver", "reviewer"), wrong(scores)
    assert list_examples(both.get("/graded-answers").text) == []
    shown = both.get(path_of(row))
    assert shown.status_code == 409
    assert row["answer"] not in shown.text
    assert overrule(both, row, "supported").status_code == 409
    assert list_statement_labels(site.ledger) == []


def test_the_answers_of_an_erased_subject_are_hidden(site: Site, scores: Scores, chief: Visitor) -> None:
    row = wrong(scores)
    ids = find_subject_ids(site.settings.layout, row["subject_key"])
    record_erasure(site.ledger, subject_key=row["subject_key"], by="officer", reason="Art. 17", ids=ids)
    assert chief.get(path_of(row)).status_code == 404
    assert overrule(chief, row, "supported").status_code == 404
    assert row["example_id"] not in list_examples(chief.get("/graded-answers").text)


def test_an_example_that_is_no_longer_approved_is_hidden(site: Site, scores: Scores, chief: Visitor) -> None:
    row = wrong(scores)
    decision = next(found for found in list_decisions(site.ledger) if found.example_id == row["example_id"])
    chief.post(f"/decisions/{decision.decision_id}/revoke", {"reason": "slip"}, page="/account")
    assert chief.get(path_of(row)).status_code == 404
    assert row["example_id"] not in list_examples(chief.get("/graded-answers").text)


@pytest.mark.usefixtures("scores")
def test_a_marked_identifier_hides_its_texts(site: Site, chief: Visitor) -> None:
    marked = next(draft for draft in drafts_of(site.settings) if MISSED in draft["input"])
    reviewer = enter(site, "Reviewer", "reviewer")
    form = {"kind": "NAME", "term": MISSED}
    assert reviewer.post(f"/items/{marked['example_id']}/mark", form, page="/account").status_code == 303
    shown = chief.get(f"/graded-answers/{marked['example_id']}")
    assert shown.status_code == 404
    assert MISSED not in shown.text


def test_the_lowest_accuracy_comes_first(scores: Scores, chief: Visitor) -> None:
    shown = chief.get("/graded-answers").text
    accuracy = {
        row["example_id"]: json.loads(row["criteria"])[ACCURACY]["score"] for row in scores if row["model"] == "adapter"
    }
    assert list_examples(shown) == sorted(accuracy, key=lambda example: accuracy[example])
    assert not any(row["answer"] in unescape(shown) for row in scores)


def test_the_list_is_filtered_by_unsupported_statements_and_overrules(scores: Scores, chief: Visitor) -> None:
    row = wrong(scores)
    overrule(chief, row, "supported")
    unsupported = {found["example_id"] for found in scores if INVENTED_SIDE in found["statements"]}
    assert set(list_examples(chief.get("/graded-answers?show=unsupported").text)) == unsupported
    assert list_examples(chief.get("/graded-answers?show=overruled").text) == [row["example_id"]]
    assert len(list_examples(chief.get("/graded-answers?show=nonsense").text)) == len(scores) // 2


def test_a_confirmed_statement_is_not_overruled(scores: Scores, chief: Visitor) -> None:
    overrule(chief, wrong(scores), "contradicted")
    assert list_examples(chief.get("/graded-answers?show=overruled").text) == []


def test_a_long_list_is_paged(ward: Callable[..., Site]) -> None:
    site = ward(count=PAGE_ITEMS + 3)
    judge_the_drafts(site.settings, site.ledger)
    chief = enter(site, "Chief", "approver")
    first = chief.get("/graded-answers").text
    following = re.search(r'href="(/graded-answers\?[^"]*start=50[^"]*)"', first)
    assert following is not None
    second = list_examples(chief.get(unescape(following[1])).text)
    assert (len(list_examples(first)), len(second)) == (PAGE_ITEMS, 3)
    assert not set(second) & set(list_examples(first))


@pytest.mark.usefixtures("scores")
def test_answers_without_statements_are_shown(site: Site, chief: Visitor) -> None:
    """A judge of the kind rubric checks none, and tables of earlier versions lack the columns."""
    regrade(site.settings, criteria=None, statements=None, judge_kind="rubric")
    (first, *_) = list_examples(chief.get("/graded-answers").text)
    assert "did not check single statements" in chief.get(f"/graded-answers/{first}").text
    path = site.settings.layout.table("judge_scores")
    write_table(path, pq.read_table(path).drop_columns(["criteria", "statements", "judge_kind"]))
    assert chief.get(f"/graded-answers/{first}").status_code == 200


def test_without_grades_the_list_says_so(site: Site) -> None:
    chief = enter(site, "Chief", "approver")
    assert chief.get("/graded-answers").status_code == 200
    assert chief.get(f"/graded-answers/{'0' * 32}").status_code == 404


def test_the_judge_s_texts_are_escaped(site: Site, scores: Scores, chief: Visitor) -> None:
    """An answer is written by a model, and may hold markup from a report."""
    row = wrong(scores)
    statement = json.loads(row["statements"])[0] | {"text": "<b>bold</b>", "evidence": "<script>x</script>"}
    regrade(site.settings, statements=json.dumps([statement]))
    shown = chief.get(path_of(row)).text
    assert "<b>bold</b>" not in shown
    assert "<script>x" not in shown


def test_the_incumbent_takes_the_place_of_the_base_model(site: Site, scores: Scores, chief: Visitor) -> None:
    """With a production model, the gate compares with it and not with the base model, which is graded too."""
    row, path = wrong(scores), site.settings.layout.table("judge_scores")
    incumbents = [found | {"model": "incumbent", "answer": "Seen."} for found in scores if found["model"] == "base"]
    write_table(path, table_from_rows([*scores, *incumbents], JudgeScore.SCHEMA))
    shown = chief.get(path_of(row)).text
    assert 'id="h-incumbent"' in shown
    assert 'id="h-base"' not in shown
