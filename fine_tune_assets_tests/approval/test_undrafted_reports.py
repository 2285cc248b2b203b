"""Each unique report that is part of no draft is listed with one reason."""

from functools import partial

import pyarrow as pa
import pytest

from fine_tune_assets.approval.drafts import draft_examples
from fine_tune_assets.approval.recipe_preview import NO_PARTNER
from fine_tune_assets.approval.task_kinds import ReportText, read_section_rules
from fine_tune_assets.approval.undrafted_reports import (
    NO_ROW_TASK,
    NO_TASK,
    NOT_CHECKED,
    NOT_WRITTEN,
    list_undrafted_reports,
)
from fine_tune_assets.dataset_files.row_reports import INSTRUCTION, OUTPUT
from fine_tune_assets.recipes.schema import ModelTask, PairTask, Task
from fine_tune_assets.tables.approval_rows import ModelDraft, UndraftedReport
from fine_tune_assets.tables.record_classes import iter_records, table_from_records
from fine_tune_assets_tests.approval.examples import PLAN, corrections, reports
from fine_tune_assets_tests.clinical_domain import PACK
from fine_tune_assets_tests.record_factory import made

SUMMARY = ModelTask("summary", "Summarize.", "model", 40, ("FINDINGS",))
PAIR = PairTask("note", "Write it.", "pairs", "1", "2")


def undrafted(unique: pa.Table, tasks: list[Task], *written: ModelDraft) -> list[tuple[str, str, str]]:
    model_drafts = table_from_records(ModelDraft, written)
    drafted = draft_examples(unique, corrections(), tasks, model_drafts, pack=PACK)
    rules = read_section_rules(partial(iter_records, ReportText, unique), tasks, PACK.section_names)
    found = list_undrafted_reports(unique, drafted, model_drafts, tasks, rules)
    assert all(isinstance(row, UndraftedReport) for row in found)
    return [(row.report_id, row.reason, row.detail) for row in found]


def test_a_report_names_the_section_that_it_lacks() -> None:
    texts = ["FINDINGS\nSprain.", "PLAN\nRest.", "FINDINGS\nSprain.\nPLAN\n\n", "FINDINGS\nSprain.\nPLAN\nRest."]
    assert undrafted(reports(*texts), [PLAN]) == [
        ("b/1", "not_used", "no section: PLAN"),
        ("b/2", "not_used", "no section: FINDINGS"),
        ("b/3", "not_used", "empty section: PLAN"),
    ]


@pytest.mark.parametrize(
    ("draft", "reason"),
    [
        (None, ("draft_missing", NOT_WRITTEN)),
        ({}, ("draft_missing", NOT_CHECKED)),
        ({"checked_by": "v", "dropped": "unsupported"}, ("draft_dropped", "unsupported")),
    ],
)
def test_a_draft_of_a_model_that_reaches_no_reviewer_says_why(
    draft: dict[str, str] | None, reason: tuple[str, str]
) -> None:
    """The verifier drops a draft before any person sees it."""
    written = [] if draft is None else [made(ModelDraft, report_id="b/1", **draft)]
    assert undrafted(reports("FINDINGS\nSprain."), [SUMMARY], *written) == [("b/1", *reason)]


def test_both_halves_of_a_pair_count_as_used_and_a_single_half_lacks_its_partner() -> None:
    both = reports("Doctor: hello.", "Hello.")
    of_one = both.set_column(
        both.schema.get_field_index("subject_key"), both.schema.field("subject_key"), pa.array(["patient1"] * 2)
    )
    assert undrafted(of_one, [PAIR]) == []
    assert undrafted(reports("Doctor: hello."), [PAIR]) == [("b/1", "not_used", NO_PARTNER)]


def test_what_no_task_takes_is_listed_too() -> None:
    row = f"{INSTRUCTION}\nExplain a sprain.\n{OUTPUT}\nA torn ligament."
    assert undrafted(reports(row), [PLAN]) == [("b/1", "not_used", NO_ROW_TASK)]
    third = PairTask("note", "Write it.", "pairs", "3", "4")
    assert undrafted(reports("Free text."), [third]) == [("b/1", "not_used", NO_TASK)]
