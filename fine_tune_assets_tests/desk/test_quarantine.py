"""Quarantine over HTTP: an approver accepts or rejects a correction, but never their own."""

import secrets
from collections.abc import Callable
from dataclasses import replace

import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.corrections.quarantine_rules import REASONS, QuarantineSignals, quarantine_corrections
from fine_tune_assets.desk.readable_names import sentence_case
from fine_tune_assets.ledger.reviews.correction_records import record_correction
from fine_tune_assets.ledger.reviews.quarantine_decisions import list_quarantine_decisions
from fine_tune_assets.recipes.schema import CorrectionSettings
from fine_tune_assets.tables.common_columns import Passage
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection
from fine_tune_assets.tables.record_classes import iter_records, table_from_records, table_from_rows
from fine_tune_assets_tests.desk.conftest import Site
from fine_tune_assets_tests.ledger.ledger_rows import record_promoted

AUTHOR = "Chief"


@pytest.fixture
def site(serve: Callable[..., Site]) -> Site:
    site = serve()
    site.add(AUTHOR, "approver")
    site.add("Deputy", "approver")
    return site


@pytest.fixture
def kept(site: Site) -> str:
    """A correction in quarantine, sent by one of the two approvers."""
    record_promoted(site.ledger, "r-1")
    texts = {"instruction": "Which dose?", "input": "", "answer": "Take 40 mg."}
    correction_id = record_correction(
        site.ledger, secrets.token_bytes(32), release_id="r-1", author=AUTHOR, idempotency_key="k",
        corrected_answer="Take 400 mg.", **texts,
    )  # fmt: skip
    row = {"correction_id": correction_id, "release_id": "r-1", "author": AUTHOR, "subject_key": "p", **texts}
    (correction,) = iter_records(
        ScrubbedCorrection, table_from_rows([{**row, "output": "Take 400 mg."}], ScrubbedCorrection.SCHEMA)
    )
    _keep(site, correction, QuarantineSignals({correction_id: 0.9}, {correction_id: ["e1"]}, {correction_id: 12}))
    return correction_id


def _keep(site: Site, correction: ScrubbedCorrection, figures: QuarantineSignals) -> None:
    layout = site.settings.layout
    write_table(layout.table("scrubbed_corrections"), table_from_records(ScrubbedCorrection, [correction]))
    write_table(
        layout.table("quarantined_corrections"), quarantine_corrections([correction], figures, CorrectionSettings(), [])
    )


def _decide(site: Site, correction_id: str, by: str, **changes: str) -> int:
    visitor = site.signed_in(by)
    shown = visitor.get(f"/quarantine/{correction_id}").text
    seen = shown.partition('name="seen" value="')[2].partition('"')[0]
    form = {"outcome": "accept", "reason": "The pharmacy agrees.", "seen": seen} | changes
    return visitor.post(f"/quarantine/{correction_id}/decide", dict(form), page="/account").status_code


def test_a_quarantined_correction_shows_its_reasons_and_its_diff(site: Site, kept: str) -> None:
    """The approver must see the measurements behind the quarantine."""
    visitor = site.signed_in("Deputy")
    assert kept[:16] in visitor.get("/quarantine").text
    shown = visitor.get(f"/quarantine/{kept}").text
    for part in (
        "Far from every approved answer",
        "0.90",
        "e1",
        "12 near-duplicates",
        "<del>40</del>",
        "<ins>400</ins>",
    ):
        assert part in shown, part


@pytest.mark.parametrize("outcome", ["accept", "reject"])
def test_a_decision_is_signed_and_the_correction_leaves_the_list(site: Site, kept: str, outcome: str) -> None:
    """Even before the table is rebuilt, so that a second approver can't decide again."""
    assert _decide(site, kept, "Deputy", outcome=outcome) == 303
    (decision,) = list_quarantine_decisions(site.ledger)
    assert (decision.person, decision.outcome, decision.correction_id) == ("Deputy", outcome, kept)
    visitor = site.signed_in("Deputy")
    assert kept[:16] not in visitor.get("/quarantine").text
    assert visitor.get(f"/quarantine/{kept}").status_code == 404


def test_a_decision_without_reason_about_another_text_or_by_the_author_is_refused(site: Site, kept: str) -> None:
    """Each of these is a gate."""
    assert _decide(site, kept, "Deputy", reason=" ") == 400
    assert _decide(site, kept, "Deputy", outcome="maybe") == 400
    assert _decide(site, kept, "Deputy", seen="0" * 64) == 409
    fingerprint = "".join(row["fingerprint"] for row in _rows(site))
    assert _decide(site, kept, AUTHOR, seen=fingerprint) == 409
    assert list_quarantine_decisions(site.ledger) == []


def _rows(site: Site) -> list[dict[str, str]]:
    import pyarrow.parquet as pq

    return list(pq.read_table(site.settings.layout.table("quarantined_corrections")).to_pylist())


def test_the_passages_of_an_answer_or_their_absence_are_shown(site: Site, kept: str) -> None:
    """An approver must know if the model would memorize the answer without its passages."""
    import pyarrow.parquet as pq

    (correction,) = iter_records(ScrubbedCorrection, pq.read_table(site.settings.layout.table("scrubbed_corrections")))
    passage = Passage(
        passage_id="p1",
        title="Formulary",
        source="formulary.csv",
        version="7",
        headings=("Iron",),
        text="Iron <40 mg>",
        labels=("everyone",),
    )
    for texts, missing in (((passage,), ()), ((), (kept,))):
        _keep(
            site, replace(correction, passages=texts), QuarantineSignals({}, {}, {kept: 12}, missing_passages=missing)
        )
        shown = site.signed_in("Deputy").get(f"/quarantine/{kept}").text
        assert ("formulary.csv" in shown, "Iron &lt;40 mg&gt;" in shown) == (bool(texts), bool(texts))
        assert (sentence_case(REASONS["missing_passages"]) in shown) == (not texts)
