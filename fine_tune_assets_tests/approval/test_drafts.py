"""Drafts from reports and from corrections."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.approval.drafts import correction_authors, draft_examples
from fine_tune_assets.recipes.schema import SectionTask
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets_tests.approval.examples import PLAN, corrections, reports
from fine_tune_assets_tests.clinical_domain import PACK

FROM_BOTH = SectionTask("plan", "Write the plan.", ("FINDINGS", "HISTORY"), "PLAN")


def test_report_with_all_sections_becomes_one_example_per_task() -> None:
    """The input contains the sections in the task's order, each under its heading."""
    text = "HISTORY\nFell.\n\nFINDINGS\nSprain.\n\nPLAN\nRest."
    (draft,) = draft_examples(reports(text), corrections(), [FROM_BOTH], pack=PACK).to_pylist()
    assert draft["input"] == "FINDINGS\nSprain.\n\nHISTORY\nFell."
    assert (draft["instruction"], draft["output"], draft["task"]) == ("Write the plan.", "Rest.", "plan")
    assert (draft["report_id"], draft["source"], draft["subject_key"]) == ("b/1", "clinic", "patient1")


def test_report_without_one_input_section_makes_no_draft() -> None:
    """A model trained to write a plan from a headache alone learns to invent."""
    texts = [
        "FINDINGS\nSprain.\nPLAN\nRest.",
        "HISTORY\nFell.\nPLAN\nRest.",
        "HISTORY\n\nFINDINGS\nSprain.\nPLAN\nRest.",
    ]
    drafted = draft_examples(reports(*texts), corrections(), [FROM_BOTH], pack=PACK)
    assert drafted.num_rows == 0


def test_single_input_section_has_no_heading() -> None:
    """Headings separate sections; a single one only costs tokens."""
    (draft,) = draft_examples(reports("FINDINGS\nSprain.\nPLAN\nRest."), corrections(), [PLAN], pack=PACK).to_pylist()
    assert draft["input"] == "Sprain."


def test_headings_of_every_task_end_a_section() -> None:
    """A lower-case heading that only another task names must still end this task's output."""
    other = SectionTask("advice", "Advise.", ("FINDINGS",), "Advice")
    (draft,) = draft_examples(
        reports("FINDINGS\nSprain.\nAdvice:\nIce.\nPLAN\n"), corrections(), [PLAN, other], pack=PACK
    ).to_pylist()
    assert (draft["task"], draft["input"], draft["output"]) == ("advice", "Sprain.", "Ice.")


def test_unsupported_number_is_flagged_but_a_placeholder_is_not() -> None:
    """Reviewers must see an unsupported dose; a placeholder is expected."""
    text = "FINDINGS\n[NAME] takes forty milligrams.\nPLAN\n[NAME]: 40 mg, later 80 mg."
    (draft,) = draft_examples(reports(text), corrections(), [PLAN], pack=PACK).to_pylist()
    assert draft["flags"] == ["number not in input: 80 mg"]


def test_correction_becomes_a_draft_with_a_known_author() -> None:
    """The author must not approve their own correction."""
    (draft,) = draft_examples(reports(), corrections("ward-key"), [PLAN], pack=PACK).to_pylist()
    assert (draft["source"], draft["task"], draft["report_id"]) == ("correction", "correction", "correction/c1")
    assert draft["output"] == "Ask the pharmacist."
    assert correction_authors(corrections("ward-key")) == {"correction/c1": "ward-key"}


def test_changed_content_is_another_example() -> None:
    """An approval is bound to the content; a changed report needs a new one."""
    first, second = (
        draft_examples(reports(f"FINDINGS\nSprain.\nPLAN\n{plan}"), corrections(), [PLAN], pack=PACK).to_pylist()[0]
        for plan in ("Rest.", "Run.")
    )
    assert first["example_id"] != second["example_id"]
    assert first["fingerprint"] != second["fingerprint"]


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(5)))
def test_drafts_do_not_depend_on_the_order_of_reports(order: list[int]) -> None:
    """An unchanged table must not make downstream assets stale."""
    table = reports(*(f"FINDINGS\nSprain {i}.\nPLAN\nRest {i}." for i in range(5)))
    shuffled = table.take(pa.array(order, pa.int64()))
    assert draft_examples(shuffled, corrections("a", "b"), [PLAN], pack=PACK).equals(
        draft_examples(table, corrections("a", "b"), [PLAN], pack=PACK)
    )


TEMPLATE = "Use these documents only.\n\n{passages}\n\nQuestion: {question}"


def carrying(passages: list[dict[str, object]] | None, **changes: str) -> pa.Table:
    row = corrections("ward").to_pylist()[0] | {"passages": passages} | changes
    return table_from_rows([row], ScrubbedCorrection.SCHEMA)


def passage(text: str) -> dict[str, object]:
    plain = {"passage_id": "p1", "title": "Leave", "source": "leave.md", "version": "2", "text": text}
    return {**plain, "headings": ["Rules"], "labels": ["everyone"]}


def test_correction_with_passages_becomes_a_question_with_passages() -> None:
    """So that the model learns to use passages. Facts from them are supported, others are flagged."""
    table = carrying([passage("Full-time staff have 20 days.")], output="You have 20 days [1], and 5 more.")
    (draft,) = draft_examples(reports(), table, [PLAN], passage_template=TEMPLATE, pack=PACK).to_pylist()
    assert draft["instruction"] == "Use these documents only."
    assert draft["input"] == (
        "<document 1>\nLeave > Rules (version 2)\nFull-time staff have 20 days.\n</document 1>\n\nQuestion: Which dose?"
    )
    assert (draft["task"], draft["drafted_by"]) == ("correction", "correction with passages")
    flagged = " ".join(draft["flags"])
    assert "5" in flagged
    assert "20" not in flagged


def test_correction_with_passages_keeps_the_task_of_its_instruction() -> None:
    """The template's own words are not a task."""
    table = carrying([passage("20 days.")], instruction=PLAN.instruction, input="Sprain.")
    (draft,) = draft_examples(reports(), table, [PLAN], passage_template=TEMPLATE, pack=PACK).to_pylist()
    assert draft["task"] == "plan"
    assert draft["input"].endswith(f"Question: {PLAN.instruction}\n\nSprain.")


def test_examples_without_passages_or_template_are_unchanged() -> None:
    """Approvals are bound to ids and fingerprints."""
    before = draft_examples(reports(), corrections("ward"), [PLAN], pack=PACK).to_pylist()
    assert (
        draft_examples(reports(), corrections("ward"), [PLAN], passage_template=TEMPLATE, pack=PACK).to_pylist()
        == before
    )
    assert draft_examples(reports(), carrying([]), [PLAN], passage_template=TEMPLATE, pack=PACK).to_pylist() == before
    assert draft_examples(reports(), carrying([passage("20 days.")]), [PLAN], pack=PACK).to_pylist() == before
    with_them = draft_examples(
        reports(), carrying([passage("20 days.")]), [PLAN], passage_template=TEMPLATE, pack=PACK
    ).to_pylist()
    assert with_them[0]["example_id"] != before[0]["example_id"]
    assert before[0]["drafted_by"] == "correction"


def test_answers_from_the_same_passages_contradict_but_not_across_versions() -> None:
    """A changed document has a different correct answer."""

    def flags(texts: tuple[str, str], questions: tuple[str, str] = ("How many days?",) * 2) -> list[bool]:
        rows = [
            carrying(
                [passage(text)], correction_id=f"c{n}", instruction=question, output=f"You have {20 + 5 * n} days."
            )
            for n, (text, question) in enumerate(zip(texts, questions, strict=True))
        ]
        table = draft_examples(reports(), pa.concat_tables(rows), [], passage_template=TEMPLATE, pack=PACK)
        return [any(flag.startswith("contradiction") for flag in one) for one in table["flags"].to_pylist()]

    assert flags(("20 or 25 days.", "20 or 25 days.")) == [True, True]
    assert flags(("20 days.", "25 days.")) == [False, False]
    assert flags(("20 or 25 days.",) * 2, ("How many days has part-time staff?", "And full-time staff?")) == [
        False,
        False,
    ]
