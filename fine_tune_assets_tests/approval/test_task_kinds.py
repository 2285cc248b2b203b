"""The kinds of task: sections, pairs, rows and model output."""

from dataclasses import asdict, replace

import pyarrow as pa
import pytest

from fine_tune_assets.approval.approvals import is_trusted
from fine_tune_assets.approval.draft_generation import (
    build_model_draft,
    select_missing_requests,
    select_requested_drafts,
)
from fine_tune_assets.approval.draft_questions import Question
from fine_tune_assets.approval.drafts import CORRECTION, draft_examples, make_task_lookup
from fine_tune_assets.approval.flags import distinct_kinds
from fine_tune_assets.approval.review_actions import build_queue_items
from fine_tune_assets.approval.task_kinds import DraftRequest, ReportText, build_requests, count_unused_inputs
from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.dataset_files.row_reports import INPUT, INSTRUCTION, OUTPUT
from fine_tune_assets.recipes.loader import dump_recipe, load_recipe, parse_recipe
from fine_tune_assets.recipes.schema import ModelTask, PairTask, RowTask, SectionTask, Task
from fine_tune_assets.tables.approval_rows import DraftedExample, ModelDraft
from fine_tune_assets.tables.record_classes import iter_records, table_from_records
from fine_tune_assets_tests.approval.examples import (
    ONE,
    PLAN,
    TRUSTED,
    approve,
    corrections,
    drafted,
    reports,
    section_rules,
    supported,
)
from fine_tune_assets_tests.clinical_domain import PACK

ROWS = RowTask("faq", "rows")
ROW = f"{INSTRUCTION}\n\nName the dose.\n\n{INPUT}\n\nPLAN:\nRest.\n\n{OUTPUT}\n\nPLAN:\nRest."
PAIRS = PairTask("note", "Write the note of this visit.", "pairs", ".dialogue", ".note")
SUMMARY = ModelTask("summary", "Summarize.", "model", 40, ("FINDINGS",))


def draft(table: pa.Table, *tasks: Task, written: pa.Table | None = None) -> list[DraftedExample]:
    return drafted(draft_examples(table, corrections(), tasks, written, pack=PACK))


def requests(table: pa.Table, *tasks: Task) -> list[DraftRequest]:
    return list(build_requests(lambda: iter_records(ReportText, table), tasks, section_rules(table, *tasks)))


def renamed(table: pa.Table, *ids: str) -> pa.Table:
    return table.set_column(0, table.schema.field(0), pa.array(ids))


@pytest.mark.parametrize("heading", ["HPI", "History of Present Illness", "HISTORY OF PRESENT ILLNESS"])
def test_section_with_alternative_headings_has_one_form_in_the_input(heading: str) -> None:
    """Departments write HPI or the full words; a model should learn one form."""
    task = SectionTask("plan", "Plan.", (("HPI", "History of present illness"), "FINDINGS"), "PLAN")
    (found,) = draft(reports(f"{heading}\nFell.\nFINDINGS\nSprain.\nPLAN\nRest."), task)
    assert found.input == "HPI\nFell.\n\nFINDINGS\nSprain."


def test_note_with_abbreviations_on_separate_lines_is_drafted_completely() -> None:
    """3 of the 8 sample notes lost allergies, history and plan at `NKDA` and `SOBAR`."""
    task = SectionTask("complaint", "Name it.", ("NOTE",), "PRESENTING COMPLAINT")
    note = "2/5 hx of SOB\nSOBAR\n\nDH: aspirin\nNKDA\nFH: nil\n\nPlan:\n1. Bloods"
    (found,) = draft(reports(f"PRESENTING COMPLAINT\n\nhard to breathe\n\nNOTE\n\n{note}"), task)
    assert (found.input, found.flags) == (note, ())


@pytest.mark.parametrize(("output", "drafts"), [("allergies", 1), ("plan", 0)])
def test_classification_task_accepts_only_its_labels(output: str, drafts: int) -> None:
    """A typo would become a class, and a class with three reports teaches nothing."""
    task = SectionTask("sort", "Name the kind.", ("TEXT",), "KIND", labels=("allergies", "medications"))
    assert len(draft(reports(f"KIND\n{output}\nTEXT\nPenicillin gives a rash."), task)) == drafts


@pytest.mark.parametrize("cut", ["FINDINGS\nSprain.\n\nFOOT CLINIC TODAY\nSwollen.\n\nPLAN\nRest.",
                                 "FINDINGS\nSprain.\n\nPLAN\nRest.\n\nFOOT CLINIC TODAY\nIce."])  # fmt: skip
def test_possibly_truncated_draft_waits_even_from_a_trusted_source(cut: str) -> None:
    """Truncated inputs and outputs alike: half a plan must not be trained on."""
    reviewed = load_recipe("demo_smollm2").reviewed_flags
    drafted = draft_examples(reports(cut), corrections(), [PLAN], reviewed_flags=reviewed, pack=PACK)
    assert [distinct_kinds(flags) for flags in drafted["flags"].to_pylist()] == [["possibly truncated"]]
    assert approve(drafted, [], TRUSTED).waiting == 1
    known = replace(PLAN, other_headings=("/FOOT CLINIC.*/",))
    drafted = draft_examples(reports(cut), corrections(), [known], reviewed_flags=reviewed, pack=PACK)
    assert approve(drafted, [], TRUSTED).waiting == 0


def test_heading_between_slashes_is_a_regular_expression() -> None:
    """It matches `Assessment and Plan` and `ASSESSMENT/PLAN`; the input keeps the report's own words."""
    task = SectionTask("plan", "Plan.", ("/find.*/", "HISTORY"), "/assessment.*plan/")
    (found,) = draft(reports("Findings today:\nSprain.\nHISTORY\nFell.\nAssessment & Plan:\nRest."), task)
    assert (found.input, found.output) == ("FINDINGS TODAY\nSprain.\n\nHISTORY\nFell.", "Rest.")
    assert draft(reports("We find\nSprain.\nHISTORY\nFell.\nASSESSMENT AND PLAN\nRest."), task) == []


def test_recipe_with_a_broken_pattern_or_an_unknown_kind_is_refused() -> None:
    """When the recipe is loaded, not during the nightly run."""
    good = asdict(load_recipe("demo_smollm2"))
    for task, word in [
        ({"name": "x", "instruction": "y", "input_sections": ["/((/"], "output_section": "Z"}, "regular expression"),
        ({"name": "x", "instruction": "y", "kind": "fiel"}, "kind"),
        (
            {"name": "x", "instruction": "y", "kind": "pairs", "input_suffix": "e", "output_suffix": ".note"},
            "input_suffix",
        ),
    ]:
        with pytest.raises(RecipeError, match=word):
            parse_recipe({**good, "tasks": [task]}, "r.yaml")


def test_reports_with_matching_id_suffixes_are_a_pair() -> None:
    """The draft belongs to the note: withholding the note withholds the draft."""
    table = reports("Doctor: Any pain?\n", "Pain.\n")
    pair = renamed(table, "b/visit7.dialogue", "b/visit7.note").set_column(
        3, table.schema.field(3), pa.array(["p", "p"])
    )
    (found,) = draft(pair, PAIRS)
    assert (found.report_id, found.input, found.output) == ("b/visit7.note", "Doctor: Any pain?", "Pain.")
    assert found.drafted_by == "pairs"


def test_pair_of_two_subjects_is_counted_and_makes_no_draft() -> None:
    """One subject's words in another's note would be the worst possible example."""
    table = renamed(reports("Dialogue", "Note"), "b/visit7.dialogue", "b/visit7.note")
    assert draft(table, PAIRS) == []
    assert count_unused_inputs(lambda: iter_records(ReportText, table), [PAIRS]).without_partner == {"note": 2}
    alone = renamed(reports("Note"), "b/visit8.note")
    assert count_unused_inputs(lambda: iter_records(ReportText, alone), [PAIRS]).without_partner == {"note": 1}


def test_model_output_is_a_draft_that_no_source_is_trusted_for() -> None:
    """The clinic is trusted for its own words, not for a model's."""
    table = reports("FINDINGS\nSprain.")
    assert draft(table, SUMMARY) == []
    (asked,) = requests(table, SUMMARY)
    written = table_from_records(ModelDraft, [supported(build_model_draft(asked, " A sprain. ", True, "abc123"))])
    (found,) = draft(table, SUMMARY, written=written)
    assert (found.output, found.drafted_by) == ("A sprain.", "model abc123")
    assert found.flags == ("model-written: abc123",)
    assert found.source in TRUSTED
    assert not is_trusted(found, TRUSTED)
    drafted = draft_examples(table, corrections(), [SUMMARY], written, pack=PACK)
    approval = approve(drafted, [], TRUSTED)
    assert (approval.approved.num_rows, approval.waiting) == (0, 1)
    (item,) = build_queue_items(drafted, "a-line", [], TRUSTED, ONE, {}, {})
    assert (item.state, item.is_trusted, item.flag_kinds) == ("waiting", False, ("model-written",))


def test_truncated_and_empty_model_outputs_are_distinguished() -> None:
    """A truncated answer must be visible as such; an empty one makes no draft."""
    table = reports("FINDINGS\nSprain.")
    (asked,) = requests(table, SUMMARY)
    cut = table_from_records(ModelDraft, [supported(build_model_draft(asked, "A spr", False, "abc"))])
    empty = table_from_records(ModelDraft, [build_model_draft(asked, " ", True, "abc")])
    assert draft(table, SUMMARY, written=cut)[0].flags == ("model-written: abc, cut off",)
    assert draft(table, SUMMARY, written=empty) == []


def test_only_drafts_with_a_source_for_every_sentence_reach_reviewers() -> None:
    """A reviewer who trusts the highlighted sources must not meet a draft that nothing checked."""
    table = reports("FINDINGS\nSprain.")
    (asked,) = requests(table, SUMMARY)
    written = build_model_draft(asked, "A sprain.", True, "abc")
    passed = supported(written)
    for row in (written, replace(passed, dropped="contradicted by the input"), replace(passed, checked_by=None)):
        assert draft(table, SUMMARY, written=table_from_records(ModelDraft, [row])) == []
    (found,) = draft(table, SUMMARY, written=table_from_records(ModelDraft, [passed]))
    assert (found.sources, found.checked_by) == (passed.sources, passed.checked_by)


def test_each_question_is_a_draft_of_its_own_with_a_stable_id() -> None:
    """Approvals are bound to ids and contents, so another report must not renumber them."""
    task = replace(SUMMARY, questions_per_report=2)
    table = reports("FINDINGS\nSprain.")
    (asked,) = requests(table, task)
    rows = [
        supported(build_model_draft(asked, output, True, "abc", Question(number, text, False)))
        for number, text, output in ((1, "What is it?", "A sprain."), (2, "Where is it?", "It is not said."))
    ]
    before = draft(table, task, written=table_from_records(ModelDraft, rows))
    assert {one.instruction: one.output for one in before} == {
        "What is it?": "A sprain.",
        "Where is it?": "It is not said.",
    }
    more = reports("FINDINGS\nSprain.", "FINDINGS\nFracture.")
    after = draft(more, task, written=table_from_records(ModelDraft, rows))
    assert [one.example_id for one in after] == [one.example_id for one in before]
    assert len({one.example_id for one in before}) == 2
    (other,) = requests(table, replace(task, questions_per_report=3))
    assert other.request_fingerprint != asked.request_fingerprint


def test_written_output_is_not_requested_again_and_removed_with_its_report() -> None:
    """Another release must not withdraw approved drafts; withheld text must not stay in a table."""
    before, after = (
        reports("FINDINGS\nSprain.", "FINDINGS\nFracture."),
        reports("FINDINGS\nSprain.", "FINDINGS\nBreak."),
    )
    written = table_from_records(
        ModelDraft, [build_model_draft(r, "x", True, "abc") for r in requests(before, SUMMARY)]
    )
    asked = requests(after, SUMMARY)
    kept = select_requested_drafts(asked, written)
    assert kept.column("report_id").to_pylist() == ["b/1"]
    assert [r.report_id for r in select_missing_requests(asked, kept)] == ["b/2"]
    assert select_missing_requests(requests(before, SUMMARY), written) == []


def test_without_sections_each_passage_of_a_named_source_is_asked_about() -> None:
    """A guideline has its own headings and is longer than a model's context; reports of patients have another task."""
    task = replace(SUMMARY, input_sections=(), words_per_passage=20, sources=("guidelines",), questions_per_report=2)
    text = "Dose\n\n" + "One tablet daily. " * 5 + "\n\nStorage\n\nKeep it dry and cool."
    assert requests(reports(text), task) == []
    named = reports(text, source="guidelines")
    asked = requests(named, task)
    assert [len(one.input.split()) for one in asked] == [16, 6]
    assert all(one.input in text for one in asked)
    assert {one.report_id for one in asked} == {"b/1"}
    rows = [
        supported(build_model_draft(one, "Keep it dry.", True, "abc", Question(1, f"How is part {number}?", False)))
        for number, one in enumerate(asked)
    ]
    drafts = draft(named, task, written=table_from_records(ModelDraft, rows))
    assert {one.input: one.instruction for one in drafts} == {
        one.input: f"How is part {number}?" for number, one in enumerate(asked)
    }
    assert requests(reports(ROW, source="guidelines"), task) == []


def test_request_repr_omits_its_input() -> None:
    """A repr ends up in logs."""
    (asked,) = requests(reports("FINDINGS\nZyxwvutquark."), SUMMARY)
    assert "Zyxwvutquark" not in repr(asked)


DIALOGUE = (
    "I twisted my right ankle at soccer on Sunday. It is swollen and it hurts to walk, I took some tablets for it."
)
OWN = "Twisted right ankle playing soccer. Ankle swollen, hurts to walk. Took tablets on Sunday."
OTHERS = "Chronic cough with green sputum for weeks. Smokes daily, inhaler prescribed, chest radiograph ordered."


@pytest.mark.parametrize(("note", "waiting"), [(OWN, 0), (OTHERS, 1), ("Otitis media.", 0)])
def test_note_of_another_visit_waits_even_from_a_trusted_source(note: str, waiting: int) -> None:
    """A shifted export pairs every dialogue with the next visit's note. Notes of two words can't be checked."""
    visit = renamed(reports(DIALOGUE, note), "b/1.dialogue", "b/1.note")
    visit = visit.set_column(3, visit.schema.field(3), pa.array(["patient1", "patient1"]))
    assert approve(draft_examples(visit, corrections(), [PAIRS], pack=PACK), [], TRUSTED).waiting == waiting


def test_word_overlap_floor_is_a_task_setting() -> None:
    """A plan need not repeat the findings, so section tasks check it only if configured."""
    text = f"FINDINGS\n{DIALOGUE}\nPLAN\n{OTHERS}"
    task = SectionTask("plan", "Plan.", ("FINDINGS",), "PLAN")
    assert [distinct_kinds(found.flags) for found in draft(reports(text), task)] == [[]]
    strict = replace(task, shared_words_floor=0.25)
    assert [distinct_kinds(found.flags) for found in draft(reports(text), strict)] == [["label noise"]]
    with pytest.raises(RecipeError, match="shared_words_floor"):
        parse_recipe({**asdict(load_recipe("demo_smollm2")), "tasks": [{**asdict(task), "shared_words_floor": 1}]}, "x")


def test_a_row_of_a_data_set_is_drafted_as_it_is() -> None:
    """Also with headings in its texts, which other kinds of task would split."""
    (found,) = draft(reports(ROW), ROWS)
    assert (found.instruction, found.input, found.output) == ("Name the dose.", "PLAN:\nRest.", "PLAN:\nRest.")
    assert (found.task, found.drafted_by) == ("faq", "rows")


def test_the_task_can_bring_the_instruction() -> None:
    """A data set with one wording for each row teaches less than one instruction. A question alone becomes the input."""
    task = replace(ROWS, instruction="Answer.")
    (found,) = draft(reports(ROW), task)
    assert (found.instruction, found.input) == ("Answer.", "PLAN:\nRest.")
    (asked,) = draft(reports(f"{INSTRUCTION}\n\nWhy?\n\n{OUTPUT}\n\nSo."), task)
    assert (asked.instruction, asked.input, asked.output) == ("Answer.", "Why?", "So.")


def test_a_task_can_name_its_data_sets() -> None:
    both = pa.concat_tables([reports(ROW), renamed(reports(ROW, source="faq"), "b/2")])
    assert [found.source for found in draft(both, replace(ROWS, sources=("faq",)))] == ["faq"]
    assert len(draft(both, ROWS)) == 2


@pytest.mark.parametrize(
    "task",
    [SectionTask("plan", "Plan.", ("PLAN",), "PLAN"), replace(PAIRS, output_suffix="1")],
)
def test_no_other_kind_of_task_uses_a_row(task: Task) -> None:
    """A heading in an answer starts no section of a report."""
    assert draft(reports(ROW), task) == []
    assert requests(reports(ROW), replace(SUMMARY, input_sections=("PLAN",))) == []


def test_ordinary_reports_are_no_rows() -> None:
    assert draft(reports("FINDINGS\nSprain.\nPLAN\nRest."), ROWS) == []


def test_a_correction_without_instruction_does_not_belong_to_a_row_task() -> None:
    """Such a task has no instruction to compare with."""
    assert make_task_lookup([ROWS])("") == CORRECTION


@pytest.mark.parametrize("values", [{"kind": "row"}, {"kind": "rows", "input_sections": ["PLAN"]}])
def test_a_recipe_with_a_wrong_row_task_is_refused(values: dict[str, object]) -> None:
    demo = dump_recipe(load_recipe("demo_smollm2"))
    with pytest.raises(RecipeError, match="tasks"):
        parse_recipe({**demo, "tasks": [*demo["tasks"], {"name": "faq", **values}]}, "mine.yaml")
