"""Flags for facts in an output that its input lacks, and for which paraphrases no flag is raised."""

import pytest

from fine_tune_assets.approval.draft_checks import check_output, check_repair, cross_check_drafts, find_standard_phrases
from fine_tune_assets.approval.flags import FLAG_KINDS, distinct_kinds, flag_spans, sentence_spans
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets_tests.approval.examples import draft_of
from fine_tune_assets_tests.clinical_domain import CHECKS


@pytest.mark.parametrize(
    ("output", "given", "flags"),
    [
        ("Take 40 mcg.", "forty milligrams a day", ["unit not in input: 40 mcg"]),
        ("Take 500 mg.", "Take 500 g.", ["unit not in input: 500 mg"]),
        ("Glucose 6 mmol/L.", "Glucose 6 mg/dL.", ["unit not in input: 6 mmol/L"]),
        ("Seen on March 9, 2024.", "Seen on 3/4/2024, 9 of them.", ["date not in input: March 9, 2024"]),
        ("Surgery 12/2008.", "The surgery was in March of 2008.", ["date not in input: 12/2008"]),
        ("It began yesterday.", "It began on Monday.", ["date not in input: yesterday"]),
        ("Pain in the left knee.", "My right knee hurts.", ["side not in input: left knee"]),
        ("Bilateral knee pain.", "pain in my left knee", ["side not in input: Bilateral knee"]),
        ("Left knee pain.", "All right. The knee pain, right?", ["side not in input: Left knee"]),
        ("Denies chest pain.", "The chest pain is worse.", ["negation not in input: Denies chest pain"]),
        ("She has a fever.", "No fever or chills.", ["negation not in input: fever"]),
        ("Reports nausea.", "Doctor: Any nausea?\nPatient: No.", ["negation not in input: nausea"]),
        ("Take 80 mg.", "40 mg", ["number not in input: 80 mg"]),
    ],
)
def test_unsupported_facts_are_flagged(output: str, given: str, flags: list[str]) -> None:
    """Each of these mistakes can harm a patient, and each closes its own check."""
    assert check_output(output, given, CHECKS) == flags


@pytest.mark.parametrize(
    ("output", "given"),
    [
        ("Take 40 mg.", "forty milligrams"),
        ("Take 40 mg.", "five to forty M G"),
        ("25 mg per week", "25 mg"),
        ("BP 120/80 mmHg", "it is one twenty over 80, 120"),
        ("Seen 2024-03-04.", "on March 4th, 2024"),
        ("Seen on 3/4/2024.", "on the 4 March 2024, 3"),
        ("Surgery 12/2008.", "the surgery was in December"),
        ("Since 11/94.", "It began in November of ninety four."),
        ("Diarrhoea for 3/7, back in 1/52.", "three days of it, see you in a week"),
        ("Bilateral knee pain.", "both knees hurt"),
        ("Left knee pain.", "pain in both my knees"),
        ("Pain in the left knee.", "my left knee, not the right knee"),
        ("Denies fever.", "Any fever? No."),
        ("Denies fever.", "Any fever? I wouldn't know."),
        ("Reports cough.", "Doctor: Any cough?\nPatient: Yes."),
        ("No chest pain. Has knee pain.", "My knee pain is bad."),
    ],
)
def test_paraphrased_facts_are_not_flagged(output: str, given: str) -> None:
    """Flags on correct text teach reviewers to ignore flags."""
    assert check_output(output, given, CHECKS) == []


def test_each_flag_is_located_in_the_output() -> None:
    """The desk highlights these places; 80 is not a part of 180."""
    output = "Take 180 mg, then 80  mg. Left knee."
    flags = ["number not in input: 80 mg", "side not in input: Left knee", "contradiction: same input as e1"]
    spans = flag_spans(output, flags)
    assert [(output[start:end], kind) for start, end, kind in spans] == [
        (output, "contradiction"), ("80  mg", "number not in input"), ("Left knee", "side not in input"),
    ]  # fmt: skip


def test_sentence_around_each_flag_is_found() -> None:
    """A decimal point does not end a sentence; a line break does."""
    output = "No fever.  Ferritin 38.4, low. \nTake 80 mg\nwith water. Walks."
    spans = flag_spans(output, ["number not in input: 38.4", "number not in input: 80 mg"])
    found = [output[start:end] for start, end in sentence_spans(output, spans)]
    assert found == ["Ferritin 38.4, low.", "Take 80 mg"]
    assert sentence_spans(output, []) == []


def test_repair_removes_fixed_flags_and_adds_new_ones() -> None:
    """Every flag must concern the current text."""
    draft = draft_of(
        instruction="Name the dose.",
        input="Takes 20 mg. Left knee.",
        output="Takes 40 mg.",
        flags=(
            "number not in input: 40 mg",
            "contradiction: nearly the same input as e2",
            "model-written: m",
            "label noise: another task of the same report has this same output",
        ),
    )
    about_the_input = ["contradiction: nearly the same input as e2", "model-written: m"]
    assert check_repair(draft, draft.output, CHECKS) == [*draft.flags]
    assert check_repair(draft, "Takes 20 mg.", CHECKS) == about_the_input
    assert check_repair(draft, "Right knee, 80 mg.", CHECKS) == [
        *about_the_input, "number not in input: 80 mg", "side not in input: Right knee",
    ]  # fmt: skip
    assert check_repair(draft, "-", CHECKS) == [*about_the_input, "label noise: the output has no content"]


PHRASES = (
    "Replace the suspension ropes within four weeks and report completion to us.",
    "No action is required before the next periodic inspection of this lift.",
)


@pytest.mark.parametrize(("phrases", "own", "flagged"), [(1, 1, 12), (2, 1, 0), (2, 13, 12)])
def test_standard_phrases_are_flagged_only_where_they_are_the_exception(phrases: int, own: int, flagged: int) -> None:
    """In reports of lift inspections 449 of 480 drafts had the flag, so that nobody would have read it."""
    drafts = [
        *(
            draft_of(example_id=f"e{n}", source="lifts", input=f"Lift {n}.", output=PHRASES[n % phrases])
            for n in range(12)
        ),
        *(
            draft_of(
                example_id=f"o{n}",
                source="lifts",
                input=f"Lift {n}.",
                output=f"Repair the door of landing {n} in week {n}.",
            )
            for n in range(own)
        ),
    ]
    found = cross_check_drafts(drafts, None, CHECKS)
    assert sum("different inputs" in flag for flags in found.values() for flag in flags) == flagged
    assert len(find_standard_phrases(drafts)) == (0 if flagged else 12)


GERMAN = (
    "Das Dach des Lagers weist mehrere Risse auf. Die Dachrinne ist verstopft, sodass Wasser in den Keller läuft. Wir empfehlen "
    "eine Reparatur."
)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("German", GERMAN),
        (
            "French",
            "Le toit de l'entrepôt présente plusieurs fissures. La gouttière est bouchée, ce qui fait couler l'eau dans la cave.",
        ),
        (
            "Spanish",
            "El techo del almacén presenta varias grietas. El canalón está obstruido, por lo que el agua entra en el sótano.",
        ),
        (
            "Dutch",
            "Het dak van het magazijn vertoont scheuren. De goot is verstopt, waardoor er water in de kelder van het huis loopt.",
        ),
    ],
)
def test_a_draft_in_another_language_is_flagged(language: str, text: str) -> None:
    """The scrubber is made for English: what it left in such a text, only the reviewer can see."""
    english = "The roof of the warehouse has cracks."
    of_output = cross_check_drafts([draft_of(example_id="e1", input=english, output=text)], None, CHECKS)
    assert f"label noise: the output is in {language}, not in English" in of_output["e1"]
    of_input = cross_check_drafts([draft_of(example_id="e1", input=text, output="Repair it.")], None, CHECKS)
    assert of_input["e1"] == [f"label noise: the input is in {language}, not in English"]


def test_a_repair_into_another_language_is_flagged_and_one_into_english_is_not() -> None:
    """The flag concerns the text that is signed."""
    draft = draft_of(
        input="The roof leaks.", output=GERMAN, flags=("label noise: the output is in German, not in English",)
    )
    assert check_repair(draft, "Repair the roof.", CHECKS) == []
    repaired = check_repair(draft_of(input="The roof leaks.", output="Repair it."), GERMAN, CHECKS)
    assert "label noise: the output is in German, not in English" in repaired


@pytest.mark.parametrize(
    "output", ["Zug um Zug", "Lisinopril, Metformin, Atorvastatin", "4711 4712 4713", "A la carte", "-- n/a"]
)
def test_a_short_output_is_never_taken_for_another_language(output: str) -> None:
    """Labels, figures and names say nothing about a language."""
    flags = cross_check_drafts([draft_of(example_id="e1", input="The roof leaks.", output=output)], None, CHECKS)
    assert not any("not in English" in flag for found in flags.values() for flag in found)


def test_flag_kinds_are_ordered_and_contain_no_text() -> None:
    assert distinct_kinds(["label noise: x", "number not in input: 8", "number not in input: 9"]) == [
        "number not in input", "label noise",
    ]  # fmt: skip
    assert set(load_recipe("demo_smollm2").reviewed_flags) <= set(FLAG_KINDS)


def test_only_the_checks_of_the_domain_flag_a_draft() -> None:
    """In a contract, "right" is an entitlement, and "denies" negates no finding."""
    output, given = (
        "The Tenant has the left over right for 80 days and denies pain.",
        "The Tenant has a right for 40 days.",
    )
    assert distinct_kinds(check_output(output, given, load_pack("law").pack.checks)) == ["number not in input"]
    assert check_output(output, given, ()) == []
