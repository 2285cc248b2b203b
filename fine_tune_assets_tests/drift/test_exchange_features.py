"""What is kept of a request, and that it is no word of it."""

import pytest

from fine_tune_assets.drift.exchange_features import Exchange, features_of, is_refusal, reading_of, task_headings
from fine_tune_assets.drift.languages import UNKNOWN, language_of
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
def test_a_sentence_of_a_note_is_in_its_language(language: str, text: str) -> None:
    """A shift of language is what a window of another clinic shows first."""
    assert language_of(text) == language


def test_key_words_are_of_no_known_language() -> None:
    """A name of a drug is none: what can't be told is a bin of its own."""
    assert language_of("BP 120/80 HR 72 SpO2 98% metoprolol lisinopril aspirin") == UNKNOWN
    assert language_of("") == UNKNOWN


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
def test_an_answer_is_refused_by_its_beginning(answer: str, reason: str, expected: bool) -> None:
    """What a patient can't do is no refusal."""
    assert is_refusal(answer, reason) is expected


def test_features_hold_names_of_bins_and_never_a_word_of_the_text() -> None:
    """Headings are by the recipe's words: a heading that only the text has is a text's."""
    prompt = "Write the note.\n\nDIALOGUE\nDoctor: how are you?\n\nZEBRAFINCH\nThe patient is well."
    found = features_of(Exchange(prompt, "Zebrafinch is well.", "stop", None), HEADINGS)
    assert (found.sections, found.prompt_words, found.answer_words, found.is_refused) == (
        "DIALOGUE",
        "8-15",
        "2-3",
        False,
    )
    assert "zebrafinch" not in str(found).lower()


def test_another_list_of_headings_is_another_reading() -> None:
    """Windows that were read otherwise must not be compared."""
    assert reading_of(HEADINGS) == reading_of(list(HEADINGS)) != reading_of(HEADINGS[1:])
