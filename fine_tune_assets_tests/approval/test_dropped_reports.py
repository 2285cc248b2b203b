"""Dropped duplicates still count: contradictions between near copies, and halves of pairs."""

from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.approval.approvals import approve_examples
from fine_tune_assets.approval.drafts import draft_examples
from fine_tune_assets.approval.dropped_reports import (
    DroppedReports,
    ReadScrubbed,
    ScrubbedText,
    format_contradiction_flag,
    read_dropped_partners,
)
from fine_tune_assets.approval.flags import distinct_kinds
from fine_tune_assets.approval.task_kinds import ReportText, count_unused_inputs
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.dedup.cross_group_pairs import pair_finder
from fine_tune_assets.dedup.duplicates import Duplicates, find_duplicates
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import PairTask, SectionTask, Task
from fine_tune_assets.tables.dedup_rows import DuplicateReport
from fine_tune_assets.tables.record_classes import iter_records, table_from_rows
from fine_tune_assets.tables.scrubbing_rows import ScrubbedReport
from fine_tune_assets_tests.approval.examples import ONE, corrections
from fine_tune_assets_tests.clinical_domain import PACK
from fine_tune_assets_tests.dedup.scrubbed_texts import report_row

DEDUP = load_recipe("demo_smollm2").dedup
NOTE = SectionTask("note", "Write the note.", ("DIALOGUE",), "NOTE")
PAIRS = PairTask("visit", "Write the note of this visit.", "pairs", ".dialogue", ".note")
DIALOGUE = (
    "Doctor: What brings you in today? Patient: I fell from my bicycle on the way to work and landed on the curb. "
    "Doctor: Where does it hurt? Patient: My knee hurts when I walk down the stairs, and it was swollen in the evening. "
    "Doctor: Did you take anything? Patient: Yes, the tablets that my pharmacist gave me, they help a little."
)
LEFT = "Pain in the left knee after a fall from a bicycle. Takes ibuprofen 40 mg a day with some relief. No fever."
RIGHT = "Pain in the right knee after a fall from a bicycle. Takes ibuprofen 80 mg a day with some relief. Fever."
PARAPHRASE = "After a fall from a bicycle pain in the left knee. Takes ibuprofen 40 mg a day with relief. No fever."
REPORT = "DIALOGUE\n{}\nNOTE\n{}"
HISTORY = (
    " Fell on the way to work and landed on the curb. The knee hurts when walking down the stairs, and was swollen in the "
    "evening. The tablets that the pharmacist gave help a little."
)
"""Of a report that is a clear copy of another, although a figure or a side differs."""
ONE_SUBJECT = {"b/1": "patient", "b/2": "patient"}


def scrubbed(texts: dict[str, str], subjects: dict[str, str] | None = None, **tagged: str) -> pa.Table:
    """A table in which each report has its own subject unless `subjects` maps it; `tagged` maps an id suffix to tagged text."""
    rows = [
        report_row(
            report_id,
            text,
            source="clinic",
            subject_key=(subjects or {}).get(report_id, report_id),
            tagged_text=tagged.get(report_id.partition("/")[2], text),
        )
        for report_id, text in texts.items()
    ]
    return table_from_rows(rows, ScrubbedReport.SCHEMA)


def through(reports: pa.Table, *tasks: Task) -> tuple[Duplicates, list[dict[str, Any]], pa.Table]:
    """Run stages 3 and 4: duplicates, drafts, and the table of drafts that a trusted source can approve."""
    found = find_duplicates(reports, DEDUP, ignore_progress)
    drafts = draft_examples(
        found.unique,
        corrections(),
        tasks,
        reviewed_flags=load_recipe("demo_smollm2").reviewed_flags,
        find_pairs=pair_finder(DEDUP, None, ignore_boilerplate=True),
        dropped_reports=DroppedReports(found.duplicates, reader(reports)),
        pack=PACK,
    )
    approved = approve_examples(drafts, [], {"clinic": "Experts"}, ONE).approved
    return found, drafts.to_pylist(), approved


def reader(reports: pa.Table) -> ReadScrubbed:
    found = {report.report_id: report for report in iter_records(ScrubbedText, reports)}

    def read(report_ids: Collection[str]) -> list[ScrubbedText]:
        return [found[report_id] for report_id in sorted(report_ids) if report_id in found]

    return read


def test_contradicting_near_copies_make_one_draft_that_waits() -> None:
    """Otherwise a right knee could be trained as a left one, unnoticed."""
    texts = {"b/1": REPORT.format(DIALOGUE, LEFT + HISTORY), "b/2": REPORT.format(DIALOGUE, RIGHT + HISTORY)}
    reports = scrubbed(texts, ONE_SUBJECT)
    found, (draft,), approved = through(reports, NOTE)
    (row,) = found.duplicates.to_pylist()
    assert (row["kind"], row["conflicts"]) == ("near", ["numbers", "sides", "negations"])
    dropped = next(r for r in reports.to_pylist() if r["report_id"] == row["dropped_id"])
    assert draft["report_id"] == row["kept_id"]
    assert format_contradiction_flag(dropped["fingerprint"]) in draft["flags"]
    assert draft["needs_review"]
    assert approved.num_rows == 0


def test_contradicting_near_copies_of_two_subjects_are_both_drafted_and_wait() -> None:
    """They are two reports, of which one may be a copying mistake: a person reads both."""
    reports = scrubbed(
        {"b/1": REPORT.format(DIALOGUE, LEFT + HISTORY), "b/2": REPORT.format(DIALOGUE, RIGHT + HISTORY)}
    )
    found, drafts, approved = through(reports, NOTE)
    assert (found.duplicates.num_rows, found.conflicting.num_rows) == (0, 1)
    assert [draft["report_id"] for draft in drafts] == ["b/1", "b/2"]
    assert all("contradiction" in distinct_kinds(draft["flags"]) for draft in drafts)
    assert approved.num_rows == 0


@pytest.mark.parametrize("other", [LEFT.upper(), LEFT.replace("some relief", "relief"), PARAPHRASE])
def test_agreeing_near_copies_are_not_flagged(other: str) -> None:
    """Copied-forward notes are common; needless flags teach reviewers to ignore them."""
    reports = scrubbed({"b/1": REPORT.format(DIALOGUE, LEFT), "b/2": REPORT.format(DIALOGUE, other)})
    found, (draft,), approved = through(reports, NOTE)
    assert found.duplicates["conflicts"].to_pylist() == [[]]
    assert "contradiction" not in distinct_kinds(draft["flags"])
    assert approved.num_rows == 1


@pytest.mark.parametrize(
    ("kept", "dropped"),
    [
        ("Takes 4 mg of the one and 9 mg of the other.", "Takes 9 mg of the one and 9 mg of the other."),
        ("Takes 4 mg of the one and 4 mcg of the other.", "Takes 4 mg of the one and 4 mg of the other."),
    ],
)
def test_swapped_number_is_detected_even_if_both_numbers_occur_elsewhere(kept: str, dropped: str) -> None:
    """Arbitrary outputs may differ in count; of two near copies, one was changed."""
    reports = scrubbed({"b/1": REPORT.format(DIALOGUE, kept), "b/2": REPORT.format(DIALOGUE, dropped)})
    found, (draft,), approved = through(reports, NOTE)
    assert found.duplicates.num_rows == 1
    assert "contradiction" in distinct_kinds(draft["flags"])
    assert approved.num_rows == 0


def test_surrogates_do_not_contradict() -> None:
    """Copies of a note under two subjects have different surrogates, so tagged texts are compared."""
    template = "{} has pain in the left knee after a fall. Record number {}. Takes ibuprofen 40 mg a day, no fever."
    texts = [
        REPORT.format(DIALOGUE, template.format(*found)) for found in (("Ann Lee", "4711"), ("Olga Brandt", "9024"))
    ]
    tagged = REPORT.format(DIALOGUE, template.format("[NAME]", "[ID]"))
    reports = scrubbed({"b/1": texts[0], "b/2": texts[1]}, None, **{"1": tagged, "2": tagged + " Seen."})
    found, (draft,), _ = through(reports, NOTE)
    assert found.duplicates["kind"].to_pylist() == ["near"]
    assert "contradiction" not in distinct_kinds(draft["flags"])


def test_report_scrubbed_again_after_being_dropped_is_not_compared() -> None:
    """It may no longer be a duplicate; stage 3 runs again, then this stage."""
    texts = {"b/1": REPORT.format(DIALOGUE, LEFT + HISTORY), "b/2": REPORT.format(DIALOGUE, RIGHT + HISTORY)}
    before = scrubbed(texts, ONE_SUBJECT)
    found = find_duplicates(before, DEDUP, ignore_progress)
    texts = {
        "b/1": REPORT.format(DIALOGUE, LEFT + HISTORY + " "),
        "b/2": REPORT.format(DIALOGUE, RIGHT + HISTORY + " "),
    }
    after = scrubbed(texts, ONE_SUBJECT)
    drafts = draft_examples(
        found.unique, corrections(), [NOTE], dropped_reports=DroppedReports(found.duplicates, reader(after)), pack=PACK
    )
    assert "contradiction" not in distinct_kinds(drafts["flags"].to_pylist()[0])


@pytest.mark.parametrize(("kind", "is_flagged"), [("near", True), ("semantic", False), ("exact", False)])
def test_different_wording_contradicts_only_for_near_copies(kind: str, is_flagged: bool) -> None:
    """Semantic duplicates differ in wording, so only their facts are compared."""
    reports = scrubbed(
        {"b/1": REPORT.format(DIALOGUE, "Rest and ice, elevate."), "b/2": REPORT.format(DIALOGUE, "Surgery soon.")}
    )
    row = {"dropped_id": "b/2", "kept_id": "b/1", "kind": kind, "similarity": 0.9, "reason": "", "conflicts": []}
    row["fingerprint"] = fingerprint_text(REPORT.format(DIALOGUE, "Surgery soon."))
    unique = find_duplicates(reports.slice(0, 1), DEDUP, ignore_progress).unique
    dropped = DroppedReports(table_from_rows([row], DuplicateReport.SCHEMA), reader(reports))
    (flags,) = draft_examples(unique, corrections(), [NOTE], dropped_reports=dropped, pack=PACK)["flags"].to_pylist()
    assert ("contradiction" in distinct_kinds(flags)) == is_flagged


def test_table_from_before_text_fingerprints_is_still_compared() -> None:
    """An updated installation has such a table until stage 3 runs again."""
    texts = {"b/1": REPORT.format(DIALOGUE, LEFT + HISTORY), "b/2": REPORT.format(DIALOGUE, RIGHT + HISTORY)}
    reports = scrubbed(texts, ONE_SUBJECT)
    found = find_duplicates(reports, DEDUP, ignore_progress)
    old = table_from_rows(
        [{**row, "fingerprint": None} for row in found.duplicates.to_pylist()], DuplicateReport.SCHEMA
    )
    (flags,) = draft_examples(
        found.unique, corrections(), [NOTE], dropped_reports=DroppedReports(old, reader(reports)), pack=PACK
    )["flags"].to_pylist()
    assert "contradiction" in distinct_kinds(flags)


OTHER_NOTE = "Cough and a sore throat for a week, worse at night. Chest is clear. Advised rest, fluids and a syrup."


def visits(
    second_note: str, second_dialogue: str = DIALOGUE, first_note: str = LEFT, subjects: Sequence[str] = ("1", "2")
) -> pa.Table:
    """Two visits of two subjects, each a dialogue and a note."""
    texts = {
        "b/1.dialogue": DIALOGUE,
        "b/1.note": first_note,
        "b/2.dialogue": second_dialogue,
        "b/2.note": second_note,
    }
    return scrubbed(texts, {name: f"patient {subjects[int(name[2]) - 1]}" for name in texts})


def amended_visits(second_dialogue: str = DIALOGUE) -> pa.Table:
    """The second note of one subject repeats the first one with another dose."""
    return visits(LEFT.replace("40 mg", "80 mg") + HISTORY, second_dialogue, LEFT + HISTORY, ("1", "1"))


def test_note_of_a_dropped_dialogue_keeps_its_own_dialogue() -> None:
    """The dialogue exists under another id; two notes that disagree on it must be flagged."""
    found, drafts, approved = through(visits(OTHER_NOTE), PAIRS)
    assert found.duplicates["dropped_id"].to_pylist() == ["b/2.dialogue"]
    assert {draft["report_id"]: draft["input"] for draft in drafts} == {"b/1.note": DIALOGUE, "b/2.note": DIALOGUE}
    assert all("contradiction" in distinct_kinds(draft["flags"]) for draft in drafts)
    assert approved.num_rows == 0
    halves = read_dropped_partners(DroppedReports(found.duplicates, reader(visits(OTHER_NOTE))), [PAIRS])
    unused = count_unused_inputs(lambda: iter_records(ReportText, found.unique), [PAIRS], halves)
    assert (unused.without_partner, unused.unpaired_reports) == ({"visit": 0}, ())


def test_dropped_note_of_the_same_dialogue_is_compared_with_the_kept_one() -> None:
    """Both halves of the second visit are dropped; its diverging note must still be flagged."""
    found, (draft,), approved = through(amended_visits(), PAIRS)
    assert found.duplicates["dropped_id"].to_pylist() == ["b/2.dialogue", "b/2.note"]
    assert "contradiction" in distinct_kinds(draft["flags"])
    assert approved.num_rows == 0


COUGH = (
    "Doctor: How long have you been coughing? Patient: For a week, mostly when I lie down at night, with a sore throat."
)


def test_dialogue_without_its_dropped_note_is_counted() -> None:
    """Its note repeats another one, and a person can see which."""
    found, (draft,), _ = through(visits(LEFT.upper(), COUGH), PAIRS)
    assert found.duplicates.select(["dropped_id", "kept_id"]).to_pylist() == [
        {"dropped_id": "b/2.note", "kept_id": "b/1.note"}
    ]
    assert draft["report_id"] == "b/1.note"
    unused = count_unused_inputs(lambda: iter_records(ReportText, found.unique), [PAIRS])
    assert unused.without_partner == {"visit": 1}
    assert unused.unpaired_reports == (("b/2.dialogue", "b/2.note"),)


def test_notes_of_different_dialogues_do_not_contradict() -> None:
    """Different visits have different answers."""
    found, (draft,), approved = through(amended_visits(COUGH), PAIRS)
    assert found.duplicates["conflicts"].to_pylist() == [["numbers"]]
    assert "contradiction" not in distinct_kinds(draft["flags"])
    assert approved.num_rows == 1


def test_dropped_dialogue_of_another_subject_is_never_an_input() -> None:
    """One subject's words in another's note would be the worst possible example."""
    reports = visits(OTHER_NOTE)
    keys = pa.array(["patient 1", "patient 1", "patient 3", "patient 2"])
    place = reports.schema.get_field_index("subject_key")
    found, drafts, _ = through(reports.set_column(place, ScrubbedReport.SCHEMA.field("subject_key"), keys), PAIRS)
    assert found.duplicates["dropped_id"].to_pylist() == ["b/2.dialogue"]
    assert [draft["report_id"] for draft in drafts] == ["b/1.note"]
