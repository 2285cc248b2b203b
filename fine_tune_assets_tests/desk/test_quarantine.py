"""Corrections in quarantine over HTTP: an approver lets one through or rejects it, and nobody their own."""

import secrets
from collections.abc import Callable
from dataclasses import replace

import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.corrections.quarantine import Figures, quarantine
from fine_tune_assets.ledger.reviews.corrections import record_correction
from fine_tune_assets.ledger.reviews.quarantine import list_quarantine_decisions
from fine_tune_assets.recipes.schema import CorrectionSettings
from fine_tune_assets.tables.columns_in_common import Passage
from fine_tune_assets.tables.corrections import ScrubbedCorrection
from fine_tune_assets.tables.records import records_of, table_from, table_of
from fine_tune_assets_tests.desk.conftest import Site
from fine_tune_assets_tests.ledger.made import record_promoted

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
    row = {"correction_id": correction_id, "release_id": "r-1", "author": AUTHOR, "patient_key": "p", **texts}
    (correction,) = records_of(
        ScrubbedCorrection, table_of([{**row, "output": "Take 400 mg."}], ScrubbedCorrection.SCHEMA)
    )
    _keep(site, correction, Figures({correction_id: 0.9}, {correction_id: ["e1"]}, {correction_id: 12}))
    return correction_id


def _keep(site: Site, correction: ScrubbedCorrection, figures: Figures) -> None:
    layout = site.settings.layout
    write_table(layout.table("scrubbed_corrections"), table_from(ScrubbedCorrection, [correction]))
    write_table(layout.table("quarantined_corrections"), quarantine([correction], figures, CorrectionSettings(), []))


def _decide(site: Site, correction_id: str, by: str, **changes: str) -> int:
    visitor = site.signed_in(by)
    shown = visitor.get(f"/quarantine/{correction_id}").text
    seen = shown.partition('name="seen" value="')[2].partition('"')[0]
    form = {"outcome": "let_through", "reason": "The pharmacy agrees.", "seen": seen} | changes
    return visitor.post(f"/quarantine/{correction_id}/decide", dict(form), page="/account").status_code


def test_why_a_correction_is_kept_apart_stands_beside_what_it_changes(site: Site, kept: str) -> None:
    """Who decides must see what the gate saw."""
    visitor = site.signed_in("Deputy")
    assert kept[:16] in visitor.get("/quarantine").text
    shown = visitor.get(f"/quarantine/{kept}").text
    for told in (
        "far from every approved answer",
        "0.90",
        "e1",
        "12 say nearly the same",
        "<del>40</del>",
        "<ins>400</ins>",
    ):
        assert told in shown, told


@pytest.mark.parametrize("outcome", ["let_through", "reject"])
def test_a_decision_is_signed_and_the_correction_leaves_the_list(site: Site, kept: str, outcome: str) -> None:
    """Before the table is made again too: two approvers must not decide one after the other."""
    assert _decide(site, kept, "Deputy", outcome=outcome) == 303
    (decision,) = list_quarantine_decisions(site.ledger)
    assert (decision.person, decision.outcome, decision.correction_id) == ("Deputy", outcome, kept)
    visitor = site.signed_in("Deputy")
    assert kept[:16] not in visitor.get("/quarantine").text
    assert visitor.get(f"/quarantine/{kept}").status_code == 404


def test_without_a_reason_or_about_another_text_or_by_its_author_nothing_is_decided(site: Site, kept: str) -> None:
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


def test_the_passages_of_an_answer_are_shown_and_their_absence_is_said(site: Site, kept: str) -> None:
    """Who lets through what is then learned by heart must read so."""
    import pyarrow.parquet as pq

    (correction,) = records_of(ScrubbedCorrection, pq.read_table(site.settings.layout.table("scrubbed_corrections")))
    passage = Passage(
        passage_id="p1",
        title="Formulary",
        source="formulary.csv",
        version="7",
        headings=("Iron",),
        text="Iron <40 mg>",
        labels=("everyone",),
    )
    for told, gone in (((passage,), ()), ((), (kept,))):
        _keep(site, replace(correction, passages=told), Figures({}, {}, {kept: 12}, passages_gone=gone))
        shown = site.signed_in("Deputy").get(f"/quarantine/{kept}").text
        assert ("formulary.csv" in shown, "Iron &lt;40 mg&gt;" in shown) == (bool(told), bool(told))
        assert ("learned by heart" in shown) == (not told)
