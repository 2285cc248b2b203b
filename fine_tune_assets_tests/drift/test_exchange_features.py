"""Features of a request reveal no word of it."""

import pytest

from fine_tune_assets.drift.exchange_features import (
    Exchange,
    extract_features,
    extractor_fingerprint,
    is_refusal,
    task_headings,
)
from fine_tune_assets.drift.languages import UNKNOWN, detect_language
from fine_tune_assets.recipes.loader import load_recipe

HEADINGS = task_headings(load_recipe("demo_smollm2").tasks)
SENTENCES = {
    "en": "The patient was seen in the clinic today for a follow up of her blood pressure.",
    "de": "Der Patient klagt seit drei Tagen über Husten und hat kein Fieber, die Lunge ist frei.",
    "fr": "Le patient est venu pour une douleur dans le genou qui dure depuis une semaine.",
    "es": "La paciente refiere dolor en el pecho desde hace dos días y no tiene fiebre.",
    "it": "Il paziente è stato visitato per una tosse che dura da tre giorni e non ha febbre.",
    "pt": "O paciente foi ao hospital com uma dor no peito e não tem febre.",
    "nl": "De patiënt heeft sinds drie dagen last van hoest en is niet benauwd.",
    "pl": "Pacjent zgłasza się z powodu bólu w klatce piersiowej i nie ma gorączki od tygodnia.",
    "sv": "Patienten har ont i bröstet och det är inte feber som har varit ett problem.",
    "cyrillic": "Пациент жалуется на кашель в течение трёх дней.",
    "chinese": "患者咳嗽三天没有发烧。",
    "japanese": "患者は三日前から咳が続いています。",
    "arabic": "المريض يعاني من السعال منذ ثلاثة أيام.",
}


@pytest.mark.parametrize(("language", "text"), SENTENCES.items(), ids=list(SENTENCES))
def test_the_language_of_a_sentence_is_detected(language: str, text: str) -> None:
    """A change of language is the first sign of requests from another clinic."""
    assert detect_language(text) == language


def test_keyword_notes_have_an_unknown_language() -> None:
    """Drug names belong to no language; undecidable texts have a separate bin."""
    assert detect_language("BP 120/80 HR 72 SpO2 98% metoprolol lisinopril aspirin") == UNKNOWN
    assert detect_language("") == UNKNOWN


@pytest.mark.parametrize(
    ("answer", "reason", "expected"),
    [
        ("I'm sorry, but I can't help with that.", "stop", True),
        ("  As an AI language model, I", "length", True),
        ("I cannot answer this.", "stop", True),
        ("Es tut mir leid, das geht nicht.", "stop", True),
        ("", "stop", True),
        ("", "tool_calls", False),
        ("Half an answer", "content_filter", True),
        ("The patient cannot walk and is sorry about it.", "stop", False),
        ("I have had a cough for three days.", "stop", False),
    ],
)
def test_a_refusal_is_detected_by_its_opening(answer: str, reason: str, expected: bool) -> None:
    """Something that a subject can't do is not a refusal."""
    assert is_refusal(answer, reason) is expected


def test_features_contain_bin_names_and_no_word_of_the_text() -> None:
    """Only the recipe's headings are used: other headings in the text may contain PHI."""
    prompt = "Write the note.\n\nDIALOGUE\nDoctor: how are you?\n\nZEBRAFINCH\nThe patient is well."
    features = extract_features(Exchange(prompt, "Zebrafinch is well.", "stop", None), HEADINGS)
    assert (features.sections, features.prompt_words, features.answer_words, features.is_refused) == (
        "DIALOGUE",
        "8-15",
        "2-3",
        False,
    )
    assert "zebrafinch" not in str(features).lower()


def test_other_headings_change_the_extractor_fingerprint() -> None:
    """Windows extracted differently must not be compared."""
    assert (
        extractor_fingerprint(HEADINGS) == extractor_fingerprint(list(HEADINGS)) != extractor_fingerprint(HEADINGS[1:])
    )
