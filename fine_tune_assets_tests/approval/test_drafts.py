"""What is drafted from a report and from a correction."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.approval.drafts import correction_authors, draft_examples, reports_without_draft
from fine_tune_assets.recipes.schema import SectionTask
from fine_tune_assets.tables.corrections import ScrubbedCorrection
from fine_tune_assets.tables.records import table_of
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


TEMPLATE = "Use these documents only.\n\n{passages}\n\nQuestion: {question}"


def carrying(passages: list[dict[str, object]] | None, **changes: str) -> pa.Table:
    row = corrections("ward").to_pylist()[0] | {"passages": passages} | changes
    return table_of([row], ScrubbedCorrection.SCHEMA)


def passage(text: str) -> dict[str, object]:
    plain = {"passage_id": "p1", "title": "Leave", "source": "leave.md", "version": "2", "text": text}
    return {**plain, "headings": ["Rules"], "labels": ["everyone"]}


def test_a_correction_with_passages_becomes_a_question_with_passages() -> None:
    """So that the model learns to use them. What they hold is supported, and what they don't is flagged."""
    table = carrying([passage("Full-time staff have 20 days.")], output="You have 20 days [1], and 5 more.")
    (draft,) = draft_examples(reports(), table, [PLAN], passage_template=TEMPLATE).to_pylist()
    assert draft["instruction"] == "Use these documents only."
    assert draft["input"] == (
        "<document 1>\nLeave > Rules (version 2)\nFull-time staff have 20 days.\n</document 1>\n\nQuestion: Which dose?"
    )
    assert (draft["task"], draft["drafted_by"]) == ("correction", "correction with passages")
    flagged = " ".join(draft["flags"])
    assert "5" in flagged
    assert "20" not in flagged


def test_it_keeps_the_task_whose_instruction_was_asked() -> None:
    """The template's own words are no task."""
    table = carrying([passage("20 days.")], instruction=PLAN.instruction, input="Sprain.")
    (draft,) = draft_examples(reports(), table, [PLAN], passage_template=TEMPLATE).to_pylist()
    assert draft["task"] == "plan"
    assert draft["input"].endswith(f"Question: {PLAN.instruction}\n\nSprain.")


def test_without_passages_or_without_a_template_nothing_is_another_example_than_before() -> None:
    """Ids and fingerprints are what approvals are bound to."""
    before = draft_examples(reports(), corrections("ward"), [PLAN]).to_pylist()
    assert draft_examples(reports(), corrections("ward"), [PLAN], passage_template=TEMPLATE).to_pylist() == before
    assert draft_examples(reports(), carrying([]), [PLAN], passage_template=TEMPLATE).to_pylist() == before
    assert draft_examples(reports(), carrying([passage("20 days.")]), [PLAN]).to_pylist() == before
    with_them = draft_examples(
        reports(), carrying([passage("20 days.")]), [PLAN], passage_template=TEMPLATE
    ).to_pylist()
    assert with_them[0]["example_id"] != before[0]["example_id"]
    assert before[0]["drafted_by"] == "correction"


def test_two_answers_from_the_same_passages_contradict_each_other_and_from_two_versions_do_not() -> None:
    """Of a document that was changed another answer is right."""

    def flags(texts: tuple[str, str], questions: tuple[str, str] = ("How many days?",) * 2) -> list[bool]:
        rows = [
            carrying(
                [passage(text)], correction_id=f"c{n}", instruction=question, output=f"You have {20 + 5 * n} days."
            )
            for n, (text, question) in enumerate(zip(texts, questions, strict=True))
        ]
        table = draft_examples(reports(), pa.concat_tables(rows), [], passage_template=TEMPLATE)
        return [any(flag.startswith("contradiction") for flag in one) for one in table["flags"].to_pylist()]

    assert flags(("20 or 25 days.", "20 or 25 days.")) == [True, True]
    assert flags(("20 days.", "25 days.")) == [False, False]
    assert flags(("20 or 25 days.",) * 2, ("How many days has part-time staff?", "And full-time staff?")) == [
        False,
        False,
    ]
