"""The kinds of task: sections, fields, pairs, and what a model writes."""

from dataclasses import asdict, replace

import pyarrow as pa
import pytest

from fine_tune_assets.approval.approvals import is_trusted
from fine_tune_assets.approval.drafts import draft_examples
from fine_tune_assets.approval.flags import kinds_of
from fine_tune_assets.approval.model_drafts import draft_row, missing_requests, still_wanted
from fine_tune_assets.approval.review_actions import queue_items
from fine_tune_assets.approval.task_kinds import ReportText, Request, count_unused, model_requests
from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.recipes.loader import load_recipe, parse_recipe
from fine_tune_assets.recipes.schema import FieldTask, ModelTask, PairTask, SectionTask, Task
from fine_tune_assets.tables.approval import DraftedExample, ModelDraft
from fine_tune_assets.tables.records import records_of, table_from
from fine_tune_assets_tests.approval.examples import ONE, PLAN, TRUSTED, approve, corrections, drafted, reports

FIELDS = FieldTask("abnormal", "Name the abnormal values.", "fields", ("LABORATORY",))
PAIRS = PairTask("note", "Write the note of this visit.", "pairs", ".dialogue", ".note")
SUMMARY = ModelTask("summary", "Summarise.", "model", ("FINDINGS",), 40)


def draft(table: pa.Table, *tasks: Task, written: pa.Table | None = None) -> list[DraftedExample]:
    return drafted(draft_examples(table, corrections(), tasks, written))


def requests(table: pa.Table, *tasks: Task) -> list[Request]:
    return list(model_requests(lambda: records_of(ReportText, table), tasks))


def renamed(table: pa.Table, *ids: str) -> pa.Table:
    return table.set_column(0, table.schema.field(0), pa.array(ids))


@pytest.mark.parametrize("heading", ["HPI", "History of Present Illness", "HISTORY OF PRESENT ILLNESS"])
def test_a_section_may_have_several_headings_and_looks_the_same_in_the_input(heading: str) -> None:
    """Departments write HPI or the whole words; a model should learn one form."""
    task = SectionTask("plan", "Plan.", (("HPI", "History of present illness"), "FINDINGS"), "PLAN")
    (found,) = draft(reports(f"{heading}\nFell.\nFINDINGS\nSprain.\nPLAN\nRest."), task)
    assert found.input == "HPI\nFell.\n\nFINDINGS\nSprain."


def test_a_note_with_abbreviations_on_lines_of_their_own_is_drafted_whole() -> None:
    """3 of the 8 sample notes lost allergies, history and plan at `NKDA` and `SOBAR`."""
    task = SectionTask("complaint", "Name it.", ("NOTE",), "PRESENTING COMPLAINT")
    note = "2/5 hx of SOB\nSOBAR\n\nDH: aspirin\nNKDA\nFH: nil\n\nPlan:\n1. Bloods"
    (found,) = draft(reports(f"PRESENTING COMPLAINT\n\nhard to breathe\n\nNOTE\n\n{note}"), task)
    assert (found.input, found.flags) == (note, ())


@pytest.mark.parametrize(("output", "drafts"), [("allergies", 1), ("plan", 0)])
def test_a_task_that_sorts_reports_takes_its_labels_only(output: str, drafts: int) -> None:
    """A kind with three reports teaches nothing, and a typing error would be a kind of its own."""
    task = SectionTask("sort", "Name the kind.", ("TEXT",), "KIND", labels=("allergies", "medications"))
    assert len(draft(reports(f"KIND\n{output}\nTEXT\nPenicillin gives a rash."), task)) == drafts


@pytest.mark.parametrize("cut", ["FINDINGS\nSprain.\n\nFOOT CLINIC TODAY\nSwollen.\n\nPLAN\nRest.",
                                 "FINDINGS\nSprain.\n\nPLAN\nRest.\n\nFOOT CLINIC TODAY\nIce."])  # fmt: skip
def test_a_draft_that_may_be_cut_short_waits_even_from_a_trusted_source(cut: str) -> None:
    """Of its input and of its output alike: nobody would teach half of a plan with their eyes open."""
    reviewed = load_recipe("demo_smollm2").reviewed_flags
    drafted = draft_examples(reports(cut), corrections(), [PLAN], reviewed_flags=reviewed)
    assert [kinds_of(flags) for flags in drafted["flags"].to_pylist()] == [["may be cut short"]]
    assert approve(drafted, [], TRUSTED).waiting == 1
    known = replace(PLAN, other_headings=("/FOOT CLINIC.*/",))
    drafted = draft_examples(reports(cut), corrections(), [known], reviewed_flags=reviewed)
    assert approve(drafted, [], TRUSTED).waiting == 0


def test_a_heading_between_slashes_is_a_regular_expression_for_the_whole_heading() -> None:
    """`Assessment and Plan`, `ASSESSMENT/PLAN`: and the report's own words stand in the input."""
    task = SectionTask("plan", "Plan.", ("/find.*/", "HISTORY"), "/assessment.*plan/")
    (found,) = draft(reports("Findings today:\nSprain.\nHISTORY\nFell.\nAssessment & Plan:\nRest."), task)
    assert (found.input, found.output) == ("FINDINGS TODAY\nSprain.\n\nHISTORY\nFell.", "Rest.")
    assert draft(reports("We find\nSprain.\nHISTORY\nFell.\nASSESSMENT AND PLAN\nRest."), task) == []


def test_a_recipe_with_a_broken_pattern_or_an_unknown_kind_is_refused() -> None:
    """At its loading, not in the night after."""
    good = asdict(load_recipe("demo_smollm2"))
    for task, word in [
        ({"name": "x", "instruction": "y", "input_sections": ["/((/"], "output_section": "Z"}, "regular expression"),
        ({"name": "x", "instruction": "y", "kind": "fiel"}, "kind must be"),
        (
            {"name": "x", "instruction": "y", "kind": "pairs", "input_ending": "e", "output_ending": ".note"},
            "ends like",
        ),
    ]:
        with pytest.raises(RecipeError, match=word):
            parse_recipe({**good, "tasks": [task]}, "r.yaml")


def test_laboratory_values_become_the_abnormal_ones() -> None:
    """Input: the lines that were read for certain; a dose elsewhere in the report is no value."""
    values = "WBC 13.2 x10^9/L (4.0-11.0)\nNa 139 mmol/L (135-145)\nTroponin <5 ng/L (3-10)"
    text = f"LABORATORY\n{values}\nPLAN\nIbuprofen 81 mg (75-100)"
    (found,) = draft(reports(text), FIELDS)
    assert found.input == "WBC 13.2 x10^9/L (4.0-11.0)\nNa 139 mmol/L (135-145)"
    assert found.output == "WBC: high, 13.2 x10^9/L (4.0-11.0)"
    assert (found.drafted_by, found.flags) == ("fields", ())
    assert count_unused(lambda: records_of(ReportText, reports(text)), [FIELDS]).unread_lab_lines == {"abnormal": 1}


def test_normal_values_have_an_answer_and_too_few_make_no_draft() -> None:
    """A model that never saw a normal report would find something in each."""
    (found,) = draft(reports("LABORATORY\nNa 139 mmol/L (135-145)"), FIELDS)
    assert found.output == "No abnormal value."
    assert draft(reports("LABORATORY\nNa 139 mmol/L"), FIELDS) == []


def test_a_flag_of_the_report_that_contradicts_its_range_is_for_a_reviewer() -> None:
    """The draft says what the range says, and warns."""
    (found,) = draft(reports("LABORATORY\nTSH 2.1 mIU/L (0.4-4.0) H"), FIELDS)
    assert found.flags == ("flag contradicts range: TSH",)


def test_two_reports_of_a_patient_whose_ids_differ_in_their_ending_are_a_pair() -> None:
    """The draft belongs to the note: holding the note back holds the draft back."""
    table = reports("Doctor: Any pain?\n", "Pain.\n")
    pair = renamed(table, "b/visit7.dialogue", "b/visit7.note").set_column(
        3, table.schema.field(3), pa.array(["p", "p"])
    )
    (found,) = draft(pair, PAIRS)
    assert (found.report_id, found.input, found.output) == ("b/visit7.note", "Doctor: Any pain?", "Pain.")
    assert found.drafted_by == "pairs"


def test_a_pair_of_two_patients_is_none_and_is_counted() -> None:
    """One patient's words in the other one's note would be the worst of all examples."""
    table = renamed(reports("Dialogue", "Note"), "b/visit7.dialogue", "b/visit7.note")
    assert draft(table, PAIRS) == []
    assert count_unused(lambda: records_of(ReportText, table), [PAIRS]).without_partner == {"note": 2}
    alone = renamed(reports("Note"), "b/visit8.note")
    assert count_unused(lambda: records_of(ReportText, alone), [PAIRS]).without_partner == {"note": 1}


def test_what_a_model_wrote_is_a_draft_that_no_source_is_trusted_for() -> None:
    """The clinic is trusted for its own words, not for a model's."""
    table = reports("FINDINGS\nSprain.")
    assert draft(table, SUMMARY) == []
    (asked,) = requests(table, SUMMARY)
    written = table_from(ModelDraft, [draft_row(asked, " A sprain. ", True, "abc123")])
    (found,) = draft(table, SUMMARY, written=written)
    assert (found.output, found.drafted_by) == ("A sprain.", "model abc123")
    assert found.flags == ("drafted by a model: abc123",)
    assert found.source in TRUSTED
    assert not is_trusted(found, TRUSTED)
    drafted = draft_examples(table, corrections(), [SUMMARY], written)
    approval = approve(drafted, [], TRUSTED)
    assert (approval.approved.num_rows, approval.waiting) == (0, 1)
    (item,) = queue_items(drafted, "a-line", [], TRUSTED, ONE, {}, {})
    assert (item.state, item.is_trusted, item.flag_kinds) == ("waiting", False, ("drafted by a model",))


def test_a_model_that_was_cut_off_or_wrote_nothing_is_told_apart() -> None:
    """Half an answer must be seen as one; an empty one is no draft."""
    table = reports("FINDINGS\nSprain.")
    (asked,) = requests(table, SUMMARY)
    cut = table_from(ModelDraft, [draft_row(asked, "A spr", False, "abc")])
    empty = table_from(ModelDraft, [draft_row(asked, " ", True, "abc")])
    assert draft(table, SUMMARY, written=cut)[0].flags == ("drafted by a model: abc, cut off",)
    assert draft(table, SUMMARY, written=empty) == []


def test_what_was_written_is_not_asked_for_again_and_goes_with_its_report() -> None:
    """Another release must not take approved drafts back; what was held back must not stay in a table."""
    before, after = (
        reports("FINDINGS\nSprain.", "FINDINGS\nFracture."),
        reports("FINDINGS\nSprain.", "FINDINGS\nBreak."),
    )
    written = table_from(ModelDraft, [draft_row(r, "x", True, "abc") for r in requests(before, SUMMARY)])
    asked = requests(after, SUMMARY)
    kept = still_wanted(asked, written)
    assert kept.column("report_id").to_pylist() == ["b/1"]
    assert [r.report_id for r in missing_requests(asked, kept)] == ["b/2"]
    assert missing_requests(requests(before, SUMMARY), written) == []


def test_a_request_never_shows_its_input() -> None:
    """A repr ends up in a log."""
    (asked,) = requests(reports("FINDINGS\nZyxwvutquark."), SUMMARY)
    assert "Zyxwvutquark" not in repr(asked)


DIALOGUE = (
    "I twisted my right ankle at soccer on Sunday. It is swollen and it hurts to walk, I took some tablets for it."
)
OWN = "Twisted right ankle playing soccer. Ankle swollen, hurts to walk. Took tablets on Sunday."
OTHERS = "Chronic cough with green sputum for weeks. Smokes daily, inhaler prescribed, chest radiograph ordered."


@pytest.mark.parametrize(("note", "waiting"), [(OWN, 0), (OTHERS, 1), ("Otitis media.", 0)])
def test_a_note_that_belongs_to_another_visit_waits_even_from_a_trusted_source(note: str, waiting: int) -> None:
    """A shifted export pairs every dialogue with the next visit's note. Of a note of two words that can't be told."""
    visit = renamed(reports(DIALOGUE, note), "b/1.dialogue", "b/1.note")
    visit = visit.set_column(3, visit.schema.field(3), pa.array(["patient1", "patient1"]))
    assert approve(draft_examples(visit, corrections(), [PAIRS]), [], TRUSTED).waiting == waiting


def test_the_share_of_words_is_the_tasks_to_set() -> None:
    """A plan need not repeat the findings, so a task by sections looks at it only when told to."""
    text = f"FINDINGS\n{DIALOGUE}\nPLAN\n{OTHERS}"
    task = SectionTask("plan", "Plan.", ("FINDINGS",), "PLAN")
    assert [kinds_of(found.flags) for found in draft(reports(text), task)] == [[]]
    strict = replace(task, shared_words_floor=0.25)
    assert [kinds_of(found.flags) for found in draft(reports(text), strict)] == [["label noise"]]
    with pytest.raises(RecipeError, match="shared_words_floor"):
        parse_recipe({**asdict(load_recipe("demo_smollm2")), "tasks": [{**asdict(task), "shared_words_floor": 1}]}, "x")
