"""What stage 3 drops and stage 4 must not lose: contradictions between near copies, and halves of pairs."""

from collections.abc import Collection
from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.approval.approvals import approve_examples
from fine_tune_assets.approval.drafts import draft_examples
from fine_tune_assets.approval.dropped_reports import (
    DroppedReports,
    ReadScrubbed,
    ScrubbedText,
    contradiction_with,
    halves_of_pairs,
)
from fine_tune_assets.approval.flags import kinds_of
from fine_tune_assets.approval.task_kinds import ReportText, count_unused
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.progress import silent
from fine_tune_assets.dedup.cross_group_pairs import pair_finder
from fine_tune_assets.dedup.duplicates import Duplicates, find_duplicates
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import PairTask, SectionTask, Task
from fine_tune_assets.tables.dedup import DuplicateReport
from fine_tune_assets.tables.phi import ScrubbedReport
from fine_tune_assets.tables.records import records_of, table_of
from fine_tune_assets_tests.approval.examples import ONE, corrections

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


def scrubbed(texts: dict[str, str], patients: dict[str, str] | None = None, **tagged: str) -> pa.Table:
    """Each report of a patient of its own, unless `patients` says otherwise; `tagged`: end of an id → its tagged text."""
    rows = [
        {
            "report_id": report_id,
            "batch": "b",
            "source": "clinic",
            "patient_key": (patients or {}).get(report_id, report_id),
            "text": text,
            "tagged_text": tagged.get(report_id.partition("/")[2], text),
            "span_count": 0,
            "written_on": None,
            "scrubber_version": "v",
            "fingerprint": fingerprint_text(text),
        }
        for report_id, text in texts.items()
    ]
    return table_of(rows, ScrubbedReport.SCHEMA)


def through(reports: pa.Table, *tasks: Task) -> tuple[Duplicates, list[dict[str, Any]], pa.Table]:
    """Stages 3 and 4: what was dropped, the drafts, and those that a trusted source's name is enough for."""
    found = find_duplicates(reports, DEDUP, silent)
    drafts = draft_examples(
        found.unique,
        corrections(),
        tasks,
        reviewed_flags=load_recipe("demo_smollm2").reviewed_flags,
        find_pairs=pair_finder(DEDUP, None, leave_out_boilerplate=True),
        dropped=DroppedReports(found.duplicates, reader(reports)),
    )
    approved = approve_examples(drafts, [], {"clinic": "Experts"}, ONE).approved
    return found, drafts.to_pylist(), approved


def reader(reports: pa.Table) -> ReadScrubbed:
    found = {report.report_id: report for report in records_of(ScrubbedText, reports)}

    def read(report_ids: Collection[str]) -> list[ScrubbedText]:
        return [found[report_id] for report_id in sorted(report_ids) if report_id in found]

    return read


def test_near_copies_that_contradict_each_other_end_as_one_draft_that_waits_for_a_reviewer() -> None:
    """Dropped for its length alone, a right knee would be trained as a left one, and nobody would know that there were two."""
    reports = scrubbed({"b/1": REPORT.format(DIALOGUE, LEFT), "b/2": REPORT.format(DIALOGUE, RIGHT)})
    found, (draft,), approved = through(reports, NOTE)
    (row,) = found.duplicates.to_pylist()
    assert (row["kind"], row["disagrees_on"]) == ("near", ["numbers", "sides", "denials"])
    lost = next(r for r in reports.to_pylist() if r["report_id"] == row["dropped_id"])
    assert draft["report_id"] == row["kept_id"]
    assert contradiction_with(lost["fingerprint"]) in draft["flags"]
    assert draft["needs_review"]
    assert approved.num_rows == 0


@pytest.mark.parametrize("other", [LEFT.upper(), LEFT.replace("some relief", "relief"), PARAPHRASE])
def test_near_copies_that_agree_make_no_flag(other: str) -> None:
    """Copied-forward notes are many; a reviewer who is sent to each stops reading flags."""
    reports = scrubbed({"b/1": REPORT.format(DIALOGUE, LEFT), "b/2": REPORT.format(DIALOGUE, other)})
    found, (draft,), approved = through(reports, NOTE)
    assert found.duplicates["disagrees_on"].to_pylist() == [[]]
    assert "contradiction" not in kinds_of(draft["flags"])
    assert approved.num_rows == 1


@pytest.mark.parametrize(
    ("kept", "lost"),
    [
        ("Takes 4 mg of the one and 9 mg of the other.", "Takes 9 mg of the one and 9 mg of the other."),
        ("Takes 4 mg of the one and 4 mcg of the other.", "Takes 4 mg of the one and 4 mg of the other."),
    ],
)
def test_a_number_that_took_the_place_of_another_is_seen_where_both_stand_elsewhere_too(kept: str, lost: str) -> None:
    """Two outputs at large may count otherwise; of two near copies one was changed."""
    reports = scrubbed({"b/1": REPORT.format(DIALOGUE, kept), "b/2": REPORT.format(DIALOGUE, lost)})
    found, (draft,), approved = through(reports, NOTE)
    assert found.duplicates.num_rows == 1
    assert "contradiction" in kinds_of(draft["flags"])
    assert approved.num_rows == 0


def test_invented_names_and_numbers_are_no_contradiction() -> None:
    """One note under two patients' keys has other inventions in each: what is compared is the text with tags."""
    said = "{} has pain in the left knee after a fall. Record number {}. Takes ibuprofen 40 mg a day, no fever."
    texts = [REPORT.format(DIALOGUE, said.format(*found)) for found in (("Ann Lee", "4711"), ("Olga Brandt", "9024"))]
    tagged = REPORT.format(DIALOGUE, said.format("[NAME]", "[ID]"))
    reports = scrubbed({"b/1": texts[0], "b/2": texts[1]}, None, **{"1": tagged, "2": tagged + " Seen."})
    found, (draft,), _ = through(reports, NOTE)
    assert found.duplicates["kind"].to_pylist() == ["near"]
    assert "contradiction" not in kinds_of(draft["flags"])


def test_a_report_that_was_scrubbed_anew_since_it_was_dropped_is_not_compared() -> None:
    """It may not be the duplicate any more that it was: stage 3 runs again, and then this stage."""
    before = scrubbed({"b/1": REPORT.format(DIALOGUE, LEFT), "b/2": REPORT.format(DIALOGUE, RIGHT)})
    found = find_duplicates(before, DEDUP, silent)
    after = scrubbed({"b/1": REPORT.format(DIALOGUE, LEFT + " "), "b/2": REPORT.format(DIALOGUE, RIGHT + " ")})
    drafts = draft_examples(
        found.unique, corrections(), [NOTE], dropped=DroppedReports(found.duplicates, reader(after))
    )
    assert "contradiction" not in kinds_of(drafts["flags"].to_pylist()[0])


@pytest.mark.parametrize(("kind", "is_flagged"), [("near", True), ("semantic", False), ("exact", False)])
def test_other_words_alone_are_a_contradiction_of_near_copies_only(kind: str, is_flagged: bool) -> None:
    """What was dropped for its meaning has other words by nature; facts are compared there too."""
    reports = scrubbed(
        {"b/1": REPORT.format(DIALOGUE, "Rest and ice, elevate."), "b/2": REPORT.format(DIALOGUE, "Surgery soon.")}
    )
    row = {"dropped_id": "b/2", "kept_id": "b/1", "kind": kind, "similarity": 0.9, "reason": "", "disagrees_on": []}
    row["fingerprint"] = fingerprint_text(REPORT.format(DIALOGUE, "Surgery soon."))
    unique = find_duplicates(reports.slice(0, 1), DEDUP, silent).unique
    dropped = DroppedReports(table_of([row], DuplicateReport.SCHEMA), reader(reports))
    (flags,) = draft_examples(unique, corrections(), [NOTE], dropped=dropped)["flags"].to_pylist()
    assert ("contradiction" in kinds_of(flags)) == is_flagged


def test_a_table_of_before_texts_had_fingerprints_is_still_compared() -> None:
    """An installation that was updated has such a table until stage 3 has run again."""
    reports = scrubbed({"b/1": REPORT.format(DIALOGUE, LEFT), "b/2": REPORT.format(DIALOGUE, RIGHT)})
    found = find_duplicates(reports, DEDUP, silent)
    old = table_of([{**row, "fingerprint": None} for row in found.duplicates.to_pylist()], DuplicateReport.SCHEMA)
    (flags,) = draft_examples(found.unique, corrections(), [NOTE], dropped=DroppedReports(old, reader(reports)))[
        "flags"
    ].to_pylist()
    assert "contradiction" in kinds_of(flags)


OTHER_NOTE = "Cough and a sore throat for a week, worse at night. Chest is clear. Advised rest, fluids and a syrup."


def visits(second_note: str, second_dialogue: str = DIALOGUE) -> pa.Table:
    """Two visits of two patients, each a dialogue and a note of its own."""
    texts = {
        "b/1.dialogue": DIALOGUE,
        "b/1.note": LEFT,
        "b/2.dialogue": second_dialogue,
        "b/2.note": second_note,
    }
    return scrubbed(texts, {name: f"patient {name[2]}" for name in texts})


def test_a_note_whose_dialogue_was_dropped_keeps_its_own_dialogue() -> None:
    """The dialogue stands under another id; two notes of it that disagree are the contradiction that somebody must see."""
    found, drafts, approved = through(visits(OTHER_NOTE), PAIRS)
    assert found.duplicates["dropped_id"].to_pylist() == ["b/2.dialogue"]
    assert {draft["report_id"]: draft["input"] for draft in drafts} == {"b/1.note": DIALOGUE, "b/2.note": DIALOGUE}
    assert all("contradiction" in kinds_of(draft["flags"]) for draft in drafts)
    assert approved.num_rows == 0
    halves = halves_of_pairs(DroppedReports(found.duplicates, reader(visits(OTHER_NOTE))), [PAIRS])
    unused = count_unused(lambda: records_of(ReportText, found.unique), [PAIRS], halves)
    assert (unused.without_partner, unused.alone) == ({"visit": 0}, ())


def test_a_dropped_note_of_the_same_dialogue_is_held_against_the_one_that_stays() -> None:
    """Both halves of the second visit go; what its note said otherwise must not go with them."""
    found, (draft,), approved = through(visits(LEFT.replace("40 mg", "80 mg")), PAIRS)
    assert found.duplicates["dropped_id"].to_pylist() == ["b/2.dialogue", "b/2.note"]
    assert kinds_of(draft["flags"])[-1] == "contradiction"
    assert approved.num_rows == 0


COUGH = (
    "Doctor: How long have you been coughing? Patient: For a week, mostly when I lie down at night, with a sore throat."
)


def test_a_dialogue_whose_note_was_dropped_is_alone_and_says_so() -> None:
    """Its note says what another one says; a person can see which report that is."""
    found, (draft,), _ = through(visits(LEFT.upper(), COUGH), PAIRS)
    assert found.duplicates.select(["dropped_id", "kept_id"]).to_pylist() == [
        {"dropped_id": "b/2.note", "kept_id": "b/1.note"}
    ]
    assert draft["report_id"] == "b/1.note"
    unused = count_unused(lambda: records_of(ReportText, found.unique), [PAIRS])
    assert unused.without_partner == {"visit": 1}
    assert unused.alone == (("b/2.dialogue", "b/2.note"),)


def test_notes_that_disagree_about_different_dialogues_are_no_contradiction() -> None:
    """Another visit, another answer."""
    found, (draft,), approved = through(visits(LEFT.replace("40 mg", "80 mg"), COUGH), PAIRS)
    assert found.duplicates["disagrees_on"].to_pylist() == [["numbers"]]
    assert "contradiction" not in kinds_of(draft["flags"])
    assert approved.num_rows == 1


def test_a_dropped_dialogue_of_another_patient_is_nobodys_input() -> None:
    """One patient's words in the other one's note would be the worst of all examples."""
    reports = visits(OTHER_NOTE)
    keys = pa.array(["patient 1", "patient 1", "patient 3", "patient 2"])
    place = reports.schema.get_field_index("patient_key")
    found, drafts, _ = through(reports.set_column(place, ScrubbedReport.SCHEMA.field("patient_key"), keys), PAIRS)
    assert found.duplicates["dropped_id"].to_pylist() == ["b/2.dialogue"]
    assert [draft["report_id"] for draft in drafts] == ["b/1.note"]
