"""Which findings a note or dialogue asserts and which it negates."""

import pytest

from fine_tune_assets.claims.negations import extract_findings, find_unsupported_negations


@pytest.mark.parametrize(
    ("text", "states"),
    [
        ("Denies chest pain, nausea or trouble breathing.", "pain- nausea- dyspnea-"),
        ("She denies a bowel or bladder dysfunction, saddle area loss, numbness.", "bladder problem- numbness-"),
        ("He has not had any fever.", "fever-"),
        ("No fever but a cough.", "fever- cough+"),
        ("No fever and he has a cough.", "fever- cough+"),
        ("Fever: none. Cough absent. Rash - no.", "fever- cough- rash-"),
        ("NKDA. Afebrile, abdomen nontender.", "allergy- fever- tenderness-"),
        ("Negative headaches, negative for syncope.", "headache- loss of consciousness-"),
        ("Non-small cell cancer.", "cancer+"),
        ("Non-smoker, social alcohol.", "smoke- alcohol+"),
        ("I can't stand the pain.", "pain+"),
        ("i ca n't stand the pain", "pain+"),
        ("i do n't have a fever", "fever-"),
        ("No improvement of the pain.", "pain+"),
        ("Call if you get a fever.", "fever?"),
        ("He quit smoking.", "smoke?"),
        ("ALLERGIES\nPenicillin.", "allergy?"),
        ("Mother had a stroke.", "stroke in the family+"),
        ("Mother denies fever.", "fever-"),
        ("I never fell or was injured.", "injury-"),
        ("No abdominal pain, just some nausea.", "pain- nausea+"),
        ("I wish I had some weight loss.", "weight loss?"),
        ("I have never felt palpitations like this.", "palpitation+"),
        ("He does not need the tablets for the pain.", "pain?"),
        ("Eating and drinking well.", ""),
    ],
)
def test_cue_negates_the_rest_of_its_clause(text: str, states: str) -> None:
    """Too short a scope misses denials; too long a scope denies what is present. `-` negated, `+` asserted, `?` open."""
    signs = {"negated": "-", "asserted": "+", "open": "?"}
    assert " ".join(finding.name + signs[finding.polarity] for finding in extract_findings(text)) == states


@pytest.mark.parametrize(
    ("dialogue", "state"),
    [
        ("Doctor: Any fever?\nPatient: No.", "negated"),
        ("Doctor: Any fever?\nPatient: Um, not that I know of.", "negated"),
        ("Doctor: Any fever?\nPatient: I haven't.", "negated"),
        ("Doctor: Any fever?\nPatient: That's a negative, doctor.", "negated"),
        ("Doctor: Any fever? Anything at all?\nPatient: Absolutely not.", "negated"),
        ("Doctor: Any fever?\nPatient: Yeah, it does come.", "asserted"),
        ("[doctor] okay and have you had any fever with that\n[patient] no", "negated"),
        ("[doctor] okay and have you had any fever with that\n[patient] yeah since monday", "asserted"),
        ("Doctor: Any fever or-\nPatient: No.", "negated"),
        ("Doctor: Have you had a fever.\nPatient: No.", "negated"),
        ("Doctor: No fever?\nPatient: Right.", "negated"),
        ("Doctor: Are you still nauseous?\nPatient: No.", "open"),
        ("Doctor: Do you take anything for the cough?\nPatient: No.", "open"),
        ("Doctor: Did you ever have a rash before?\nPatient: No.", "open"),
        ("Doctor: Any allergies?\nPatient: No just latex.", "open"),
        ("Doctor: Any fever?\nPatient: I wouldn't know.", "open"),
        ("Doctor: Any fever?\nPatient: Not sure.", "open"),
    ],
)
def test_answer_decides_the_finding_in_a_question(dialogue: str, state: str) -> None:
    """Half of all denials are a bare "no", and transcripts often lack question marks."""
    assert [finding.polarity for finding in extract_findings(dialogue)] == [state]


def test_family_history_is_not_attributed_to_the_patient() -> None:
    (finding,) = extract_findings("Doctor: Anyone in your family had a stroke?\nPatient: No.")
    assert (finding.name, finding.polarity) == ("stroke in the family", "negated")


def test_yes_to_several_findings_asserts_none_of_them() -> None:
    assert {finding.polarity for finding in extract_findings("Any fever or chills? Yes.")} == {"open"}


def test_no_other_pain_does_not_negate_pain() -> None:
    assert list(extract_findings("Doctor: Any other pain?\nPatient: No.")) == []


@pytest.mark.parametrize(
    ("output", "given", "found"),
    [
        ("Denies dyspnea.", "I get short of breath.", ["Denies dyspnea"]),
        ("Has vomiting.", "Doctor: Are you throwing up?\nPatient: Nope.", ["vomiting"]),
        ("No pain with supination.", "pain with supination, no pain with pronation", ["No pain"]),
        ("Pain with supination.", "pain with supination, no pain with pronation", []),
        ("No chest pain. Has knee pain.", "My knee pain is bad.", []),
        ("No family history of stroke.", "I had a stroke.", []),
        ("Denies stroke.", "I had a stroke.", ["Denies stroke"]),
    ],
)
def test_mention_is_compared_with_the_most_similar_one(output: str, given: str, found: list[str]) -> None:
    """A visit mentions several pains: a denied one must not hide that another was reversed."""
    assert find_unsupported_negations(output, given) == found
