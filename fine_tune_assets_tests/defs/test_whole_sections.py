"""Drafts in the graph: what was cut off a report is shown and checked."""

from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s04_approved_examples.approved_examples import (
    drafted_examples,
    drafts_contain_complete_sections,
)
from fine_tune_assets.tables.approval_rows import ModelDraft
from fine_tune_assets.tables.dedup_rows import DuplicateReport
from fine_tune_assets_tests.approval.examples import reports

pytestmark = pytest.mark.usefixtures("installation_dir")
NOTE = "PRESENTING COMPLAINT\n\nhard to breathe\n\nNOTE\n\n2/5 hx of SOB\n{}\nDH: aspirin"


def drafted(unique: pa.Table) -> Any:
    return drafted_examples(
        installation=Installation(),
        unique_reports=unique,
        duplicate_reports=DuplicateReport.SCHEMA.empty_table(),
        model_drafts=ModelDraft.SCHEMA.empty_table(),
    )


def checked(unique: pa.Table) -> Any:
    return drafts_contain_complete_sections(Installation(), drafted(unique).value, unique)


def test_the_check_passes_where_each_draft_has_its_whole_sections() -> None:
    """`NKDA` cuts nothing."""
    unique = reports(NOTE.format("NKDA"))
    assert checked(unique).passed
    assert drafted(unique).metadata["words_in_drafts"] == 10


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (NOTE.format("\nSHORT OF BREATH AT REST"), "truncated_drafts"),
        ("PRESENTING COMPLAINT: hard to breathe\nNOTE: SOB", "inline_sections"),
    ],
)
def test_the_check_warns_of_text_that_a_draft_may_lack(text: str, count: str) -> None:
    """Only counts: metadata must never contain a word of a report."""
    unique = reports(text)
    result = checked(unique)
    assert not result.passed
    assert drafted(unique).metadata[count] > 0
    assert "BREATH" not in str(result.metadata)
