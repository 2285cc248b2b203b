"""Names found once are found everywhere, and wrong guesses do not spread."""

import pytest

from fine_tune_assets.phi.recognizers.propagation import propagate_spans
from fine_tune_assets.phi.spans.spans import Span, merge_spans, replace_spans
from fine_tune_assets_tests.clinical_domain import RULES


def propagated(text: str, found: str, label: str = "NAME", rule: str = "presidio_person", score: float = 0.85) -> str:
    """The text after treating the first occurrence of `found` as a finding."""
    start = text.index(found)
    spans = [Span(start, start + len(found), label, rule, score)]
    return replace_spans(text, merge_spans(text, [*spans, *propagate_spans(text, spans, RULES)]))


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("John Quixley came. Mr. Quixley left.", "John Quixley", "[NAME] came. Mr. [NAME] left."),
        ("John Quixley came. John's arm. QUIXLEY", "John Quixley", "[NAME] came. [NAME] arm. [NAME]"),
        ("John Quixley came. Quixley, J. and J. Quixley", "John Quixley", "[NAME] came. [NAME] and [NAME]"),
        ("Dr. Quixley came; quixley's note", "Quixley", "Dr. [NAME] came; [NAME] note"),
        ("Dr. Quixley came; quixley's note", "Dr. Quixley", "[NAME] came; [NAME] note"),
        (
            "patient is maria quixley . hi maria . ms. quixley",
            "maria quixley",
            "patient is [NAME] . hi [NAME] . ms. [NAME]",
        ),
        ("Anna Smith-Jones. Then Smith Jones.", "Anna Smith-Jones", "[NAME]. Then [NAME]."),
        ("José Núñez. NUNEZ.", "José Núñez", "[NAME]. [NAME]."),
        (
            "Then Will Long left. Then Long said: Mr. Long.",
            "Will Long",
            "Then [NAME] left. Then [NAME] said: Mr. [NAME].",
        ),
    ],
)
def test_name_found_once_is_removed_everywhere(text: str, found: str, expected: str) -> None:
    """A recognizer that reads sentence by sentence may find a name in one sentence only."""
    assert propagated(text, found) == expected


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Will Long left. Will you? It was long. LONG. Long ago.", "Will Long"),
        ("Aspirin is taken. Took aspirin. Aspirin helps.", "Aspirin"),
        ("Quixatol is taken. Took quixatol, 5 mg quixatol.", "Quixatol"),
        ("Bactrim helps. BACTRIM.", "Bactrim"),
        ("Mr. Murphy has no Murphy's sign, Murphy sign.", "Murphy"),
        ("Dr. James Parkinson for Parkinson's disease.", "James Parkinson"),
        ("Ann Graves for Graves’ disease.", "Ann Graves"),
        ("John Doe: M.D. and JD.", "John Doe"),
    ],
)
def test_ordinary_words_and_eponyms_do_not_spread(text: str, found: str) -> None:
    """Otherwise one wrong guess would remove a medicine from the whole report."""
    assert propagated(text, found) == text.replace(found, "[NAME]", 1)


def test_medicine_mistaken_for_a_name_is_kept_in_lower_case() -> None:
    """Lower case counts only after a title, or if the finding was in lower case."""
    assert propagated("Then Quixatol, then quixatol; Quixatol", "Quixatol") == "Then [NAME], then quixatol; [NAME]"


@pytest.mark.parametrize(
    ("label", "found", "text", "expected"),
    [
        ("PHONE", "(559) 555-0142", "Call (559) 555-0142, 559.555.0142, 555-0142", "Call [PHONE], [PHONE], [PHONE]"),
        ("SSN", "123-45-6789", "123-45-6789 is 123456789", "[SSN] is [SSN]"),
        ("ID", "A-10023", "A-10023; a10023", "[ID]; [ID]"),
        ("EMAIL", "a.b@example.org", "a.b@example.org, A.B@EXAMPLE.ORG", "[EMAIL], [EMAIL]"),
        ("ID", "5583920", "5583920; 5583920 mg, 15583920", "[ID]; 5583920 mg, 15583920"),
        ("ID", "120", "ID 120; 120 mg, 120", "ID [ID]; 120 mg, 120"),
    ],
)
def test_numbers_are_found_with_other_separators(label: str, found: str, text: str, expected: str) -> None:
    """The context that reveals a number occurs only once."""
    assert propagated(text, found, label) == expected


def test_uncertain_finding_does_not_spread() -> None:
    """It may be wrong once."""
    assert propagated("John Quixley came. Quixley", "John Quixley", score=0.3) == "[NAME] came. Quixley"


def test_only_new_occurrences_are_returned() -> None:
    """The finding itself keeps its rule for the audit."""
    text = "Quixley and Quixley"
    assert propagate_spans(text, [Span(0, 7, "NAME", "r", 0.9)], RULES) == [Span(12, 19, "NAME", "propagated", 0.9)]
    assert propagate_spans(text, [], RULES) == []


def test_word_at_the_start_of_a_sentence_is_weak_evidence() -> None:
    """Every word is capitalised there; within a sentence only names are."""
    assert propagated("Quixatol helps. Quixatol. Take Quixatol.", "Quixatol") == "[NAME] helps. Quixatol. Take [NAME]."
    assert propagated("Saw Quixley. Quixley left.", "Quixley") == "Saw [NAME]. [NAME] left."
