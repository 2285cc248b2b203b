"""The page of one's own corrections."""

import secrets
from collections.abc import Callable

import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.ledger.reviews.correction_records import record_correction
from fine_tune_assets.tables.correction_rows import WithheldCorrection
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets_tests.desk.conftest import Site
from fine_tune_assets_tests.ledger.ledger_rows import record_promoted


@pytest.fixture
def site(serve: Callable[..., Site]) -> Site:
    made = serve()
    made.add("Ward", "user")
    made.add("Other", "user")
    record_promoted(made.ledger, "r-1")
    return made


def send(site: Site, author: str) -> str:
    texts = dict.fromkeys(("instruction", "input", "answer", "corrected_answer"), "Quillfeather coughs.")
    key = secrets.token_bytes(32)
    return record_correction(site.ledger, key, release_id="r-1", author=author, idempotency_key="k", **texts)


def test_a_correction_that_could_not_be_scrubbed_is_shown_to_its_author_with_the_reason(site: Site) -> None:
    """It was dropped with a count in Dagster, which its author never sees."""
    own, foreign = send(site, "Ward"), send(site, "Other")
    rows = [{"correction_id": one, "scrubber_version": "v", "has_identifiers": False} for one in (own, foreign)]
    write_table(site.settings.layout.table("withheld_corrections"), table_from_rows(rows, WithheldCorrection.SCHEMA))
    shown = site.signed_in("Ward").get("/corrections").text
    assert "Not scrubbed" in shown
    assert "too much time or memory" in shown
    assert own[:8] in shown
    assert foreign[:8] not in shown
    assert "Quillfeather" not in shown


def test_without_corrections_the_page_says_where_they_come_from(site: Site) -> None:
    shown = site.signed_in("Ward").get("/corrections").text
    assert "No corrections" in shown
    assert 'href="/ask"' in shown
