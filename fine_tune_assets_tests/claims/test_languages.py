"""Texts that are not in English are recognized, and English ones never are: a false alarm on each batch would be ignored."""

import csv
import json
import re
from collections.abc import Iterator

import pytest

from fine_tune_assets.claims.languages import MIN_WORDS, count_other_languages, find_other_language
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets_tests.claims.paragraphs import PARAGRAPHS


@pytest.mark.parametrize(("language", "text"), [(name, text) for name, texts in PARAGRAPHS.items() for text in texts])
def test_a_paragraph_in_another_language_is_recognized(language: str, text: str) -> None:
    """Letters and telegraphic notes of two domains."""
    assert find_other_language(text) == language


@pytest.mark.parametrize("language", ["German", "French", "Spanish", "Dutch"])
def test_any_twenty_words_of_running_text_are_enough(language: str) -> None:
    """An answer of two sentences. The telegraphic note is left out: half of it is figures and names."""
    for text in PARAGRAPHS[language]:
        words = text.split()
        parts = [" ".join(words[start : start + MIN_WORDS]) for start in range(len(words) - MIN_WORDS)]
        assert {find_other_language(part) for part in parts if not any(c.isdigit() for c in part)} <= {language}


def list_english_texts() -> Iterator[str]:
    """Every text of the labelled sets, samples and reports of the repository."""
    for file in [*(PROJECT_DIR / "data").rglob("*.jsonl")]:
        for line in file.read_text(encoding="utf-8").split("\n"):
            if line.strip():
                yield from (value for value in json.loads(line).values() if isinstance(value, str))
    csv.field_size_limit(10_000_000)
    for file in (PROJECT_DIR / "data").rglob("*.csv"):
        with file.open(encoding="utf-8") as lines:
            yield from (cell for row in csv.reader(lines) for cell in row)


def split_into_parts(text: str) -> Iterator[str]:
    """The text, its paragraphs, lines and sentences, and each twenty words: any part may become an input or an output."""
    yield text
    for separator in (r"\n\s*\n", r"\n", r"(?<=[.?!])\s+"):
        yield from re.split(separator, text)
    words = text.split()
    yield from (" ".join(words[start : start + MIN_WORDS]) for start in range(0, len(words), MIN_WORDS))


def test_no_english_text_of_the_repository_is_taken_for_another_language() -> None:
    """Dialogues, notes, contracts, complaints and questions, and every part of them that a recipe could draft: no false alarm."""
    parts = {part for text in list_english_texts() for part in split_into_parts(text)}
    long = [part for part in parts if len(part.split()) >= MIN_WORDS]
    assert len(long) > 10_000
    assert count_other_languages(long) == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Guten Tag.",
        "CBC: WBC 7.2, Hgb 13.1, Plt 220. BMP: Na 140, K 4.1, Cl 102, CO2 24, BUN 12, Cr 0.9, Glu 98. UA neg. " * 2,
        "Dr. de la Cruz and Mr. van den Berg met Ms. von der Leyen, El Niño Clinic, Los Angeles, La Jolla, San José. " * 3,
        "x " * 100,
        "4711 " * 100,
        "Lisinopril, metformin, atorvastatin, amlodipine, omeprazole, losartan, gabapentin, sertraline, furosemide, prednisone, "
        "insulin glargine, levothyroxine, albuterol, warfarin, tamsulosin, clopidogrel, allopurinol, duloxetine, digoxin",
        "Escherichia coli, Staphylococcus aureus, Candida albicans, Borrelia burgdorferi, Listeria monocytogenes, Musculus "
        "sternocleidomastoideus, Vena cava inferior, Ligamentum teres hepatis, Nervus vagus, Arteria carotis interna et externa",
        "Positive; negative; left; right; mild; severe; pending; final; routine; urgent; closed; open; rejected; paid; due",
    ],
)  # fmt: skip
def test_no_claim_is_made_without_enough_words(text: str) -> None:
    """Short texts, laboratory values and lists of names say nothing about the language."""
    assert find_other_language(text) is None


def test_an_english_letter_with_a_foreign_quotation_is_english() -> None:
    english = (
        "The claimant wrote to us on Monday and asked for the costs of the repair, which we had refused before. " * 2
    )
    assert find_other_language(english + PARAGRAPHS["German"][2][:120]) is None


def test_counts_are_ordered_by_frequency() -> None:
    texts = [*PARAGRAPHS["French"], PARAGRAPHS["Polish"][0], "The patient was well and went home with her son."]
    assert list(count_other_languages(texts).items()) == [("French", 2), ("Polish", 1)]
