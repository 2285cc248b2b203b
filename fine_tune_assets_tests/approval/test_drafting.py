"""What is drafted from a report and from a correction."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.approval.drafting import correction_authors, draft_examples, reports_without_draft
from fine_tune_assets.recipes.schema import SectionTask
from fine_tune_assets_tests.approval.examples import PLAN, corrections, reports

FROM_BOTH = SectionTask("plan", "Write the plan.", ("FINDINGS", "HISTORY"), "PLAN")


def test_a_report_with_all_sections_becomes_one_example_a_task() -> None:
    """The input holds the sections in the task's order, each under its heading."""
    text = "HISTORY\nFell.\n\nFINDINGS\nSprain.\n\nPLAN\nRest."
    (draft,) = draft_examples(reports(text), corrections(), [FROM_BOTH]).to_pylist()
    assert draft["input"] == "FINDINGS\nSprain.\n\nHISTORY\nFell."
    assert (draft["instruction"], draft["output"], draft["task"]) == ("Write the plan.", "Rest.", "plan")
    assert (draft["report_id"], draft["source"], draft["patient_key"]) == ("b/1", "clinic", "patient1")


def test_a_report_without_one_of_the_input_sections_yields_nothing() -> None:
    """Taught to write a plan from a headache alone, a model learns to invent."""
    texts = [
        "FINDINGS\nSprain.\nPLAN\nRest.",
        "HISTORY\nFell.\nPLAN\nRest.",
        "HISTORY\n\nFINDINGS\nSprain.\nPLAN\nRest.",
    ]
    drafted = draft_examples(reports(*texts), corrections(), [FROM_BOTH])
    assert drafted.num_rows == 0
    assert reports_without_draft(reports(*texts), drafted) == ["b/1", "b/2", "b/3"]


def test_a_single_input_section_stands_without_its_heading() -> None:
    """A heading tells sections apart; alone it only costs tokens."""
    (draft,) = draft_examples(reports("FINDINGS\nSprain.\nPLAN\nRest."), corrections(), [PLAN]).to_pylist()
    assert draft["input"] == "Sprain."


def test_a_report_without_output_or_without_any_input_yields_nothing_and_is_named() -> None:
    """A report that falls out of the path must be counted, not vanish."""
    texts = ["FINDINGS\nSprain.", "PLAN\nRest.", "FINDINGS\nSprain.\nPLAN\n\n", "FINDINGS\nSprain.\nPLAN\nRest."]
    drafted = draft_examples(reports(*texts), corrections(), [PLAN])
    assert drafted.column("report_id").to_pylist() == ["b/4"]
    assert reports_without_draft(reports(*texts), drafted) == ["b/1", "b/2", "b/3"]


def test_the_headings_of_every_task_end_a_section() -> None:
    """A heading in small letters that only another task names must still end this one's output."""
    other = SectionTask("advice", "Advise.", ("FINDINGS",), "Advice")
    (draft,) = draft_examples(
        reports("FINDINGS\nSprain.\nAdvice:\nIce.\nPLAN\n"), corrections(), [PLAN, other]
    ).to_pylist()
    assert (draft["task"], draft["input"], draft["output"]) == ("advice", "Sprain.", "Ice.")


def test_a_number_that_the_input_lacks_is_flagged_and_a_tag_is_not() -> None:
    """A dose from nowhere is what a reviewer must see; a scrubbed name is as it should be."""
    text = "FINDINGS\n[NAME] takes forty milligrams.\nPLAN\n[NAME]: 40 mg, later 80 mg."
    (draft,) = draft_examples(reports(text), corrections(), [PLAN]).to_pylist()
    assert draft["flags"] == ["number not in input: 80 mg"]


def test_a_correction_becomes_a_draft_that_names_it_and_its_author_is_known() -> None:
    """The author is what keeps people from approving their own correction."""
    (draft,) = draft_examples(reports(), corrections("ward-key"), [PLAN]).to_pylist()
    assert (draft["source"], draft["task"], draft["report_id"]) == ("correction", "correction", "correction/c1")
    assert draft["output"] == "Ask the pharmacist."
    assert correction_authors(corrections("ward-key")) == {"correction/c1": "ward-key"}


def test_other_content_is_another_example() -> None:
    """An approval is bound to the content: a changed report needs a new one."""
    first, second = (
        draft_examples(reports(f"FINDINGS\nSprain.\nPLAN\n{plan}"), corrections(), [PLAN]).to_pylist()[0]
        for plan in ("Rest.", "Run.")
    )
    assert first["example_id"] != second["example_id"]
    assert first["fingerprint"] != second["fingerprint"]


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(5)))
def test_drafts_are_the_same_for_any_order_of_reports(order: list[int]) -> None:
    """An unchanged table must not restart the steps behind it."""
    table = reports(*(f"FINDINGS\nSprain {i}.\nPLAN\nRest {i}." for i in range(5)))
    shuffled = table.take(pa.array(order, pa.int64()))
    assert draft_examples(shuffled, corrections("a", "b"), [PLAN]).equals(
        draft_examples(table, corrections("a", "b"), [PLAN])
    )
