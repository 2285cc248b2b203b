"""The page for those who pay, over HTTP, from a real ledger."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.ledger.audit.request_log import RequestEntry, record_requests
from fine_tune_assets.ledger.reviews.correction_records import record_correction
from fine_tune_assets.ledger.reviews.feedback import record_feedback
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets_tests.desk.conftest import Site
from fine_tune_assets_tests.ledger.ledger_rows import record_promoted

MARKER = "Zebrafinch"
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def site(serve: Callable[..., Site]) -> Site:
    site = serve()
    site.add("Payer", "auditor")
    return site


def test_without_a_release_the_page_says_so(site: Site) -> None:
    """The first day of every installation."""
    assert "No release" in site.signed_in("Payer").get("/impact").text


def test_the_figures_of_each_release_stand_on_the_page_and_in_the_json_and_no_text_does(site: Site) -> None:
    """It is shown to people who may read no report."""
    record_promoted(site.ledger, "r-1")
    texts = dict.fromkeys(("instruction", "input", "answer", "corrected_answer"), MARKER)
    sent = {"release_id": "r-1", "author": "ward 3", **texts}
    ids = [
        record_correction(
            site.ledger,
            secrets.token_bytes(32),
            idempotency_key=str(n),
            error_kind="omission",
            seconds_spent=90,
            **sent,
        )
        for n in range(4)
    ]
    record_feedback(site.ledger, release_id="r-1", author="ward 3", rating="up", idempotency_key="t")
    row = {"release_id": "r-1", "author": "ward 3", "subject_key": "p", "instruction": MARKER, "input": MARKER}
    rows = [{**row, "correction_id": own, "output": MARKER, "answer": MARKER, "edit_fraction": 0.5} for own in ids]
    write_table(site.settings.layout.table("scrubbed_corrections"), table_from_rows(rows, ScrubbedCorrection.SCHEMA))
    visitor = site.signed_in("Payer")
    shown, (told,) = visitor.get("/impact").text, visitor.get("/impact.json").json()["releases"]
    assert (told["release_id"], told["corrections"], told["minutes_spent"], told["thumbs_up"]) == ("r-1", 4, 6.0, 1)
    assert (told["edit_quartiles"], told["answer_count"], told["kinds"][0]["kind"]) == (
        [0.5, 0.5, 0.5],
        None,
        "omission",
    )
    for part in ("50 %", "6.0 in 4", "Omission 4", '<svg class="plot"', "unknown"):
        assert part in shown, part
    assert MARKER not in shown


def test_minutes_saved_stand_beside_the_formula_and_what_they_are_compared_with(site: Site) -> None:
    """Who pays can check it: 4 corrections of 3 minutes on 8 answers, then none on 10: 15 minutes."""
    for release, answers in (("r-1", 8), ("r-2", 10)):
        record_promoted(site.ledger, release)
        lines = [RequestEntry(NOW, "k", "/v1/completions", 200, None, release, 1, 1, 1, None, None)] * answers
        record_requests(site.ledger, lines, {}, NOW)
    texts = dict.fromkeys(("instruction", "input", "answer", "corrected_answer"), MARKER)
    for n in range(4):
        record_correction(
            site.ledger, b"k" * 32, idempotency_key=str(n), seconds_spent=180, release_id="r-1", author="ward 3", **texts
        )  # fmt: skip
    visitor = site.signed_in("Payer")
    first, second = visitor.get("/impact.json").json()["releases"]
    assert (first["minutes_per_hundred"], first["time_saved"]) == (150, None)
    assert second["time_saved"] == {"minutes": 15, "baseline_release_id": "r-1", "baseline_minutes_per_hundred": 150}
    shown = visitor.get("/impact").text
    for part in (
        "150.0 min",
        '15 compared with <span title="r-1">Release 1<',
        "÷ 100 × answers of this release",
    ):
        assert part in shown, part
