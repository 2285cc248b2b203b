"""Texts that are not in English are recognized, and English ones never are: a false alarm on each batch would be ignored."""

import csv
import json
import re
from collections.abc import Iterator

import pytest

from fine_tune_assets.claims.languages import MIN_WORDS, count_other_languages, find_other_language
from fine_tune_assets.core.paths import PROJECT_DIR

PARAGRAPHS = {
    "German": [
        "Die Patientin stellte sich am Montag mit starken Schmerzen in der linken Schulter vor. Sie wurde nach der Untersuchung "
        "entlassen und soll sich in einer Woche wieder vorstellen. Eine Fraktur war auf dem Bild nicht zu sehen.",
        "Pat. klagt über Husten seit 3 Tagen. Kein Fieber. Lunge frei. RR 130/80. Medikation: Ramipril 5 mg 1-0-0, Metformin "
        "500 mg 1-0-1. Procedere: Kontrolle in der Praxis bei Verschlechterung, sonst in 14 Tagen. AU bis Freitag.",
        "Sehr geehrte Damen und Herren, der Schaden an dem Dach wurde durch den Sturm in der Nacht verursacht. Wir bitten um die "
        "Erstattung der Kosten für die Reparatur und legen die Rechnung bei.",
    ],
    "French": [
        "Le patient est venu pour une douleur au genou droit qui dure depuis deux semaines. Il ne prend pas de médicaments. La "
        "radiographie est normale et une séance de kinésithérapie lui a été prescrite.",
        "Nous vous informons que le sinistre déclaré par notre assuré n'est pas couvert par le contrat, les dégâts étant "
        "antérieurs à la date de souscription de la police.",
    ],
    "Spanish": [
        "La paciente acudió a urgencias con fiebre y tos desde hace tres días. No refiere alergias. Se le administró paracetamol "
        "y fue dada de alta con seguimiento por su médico de cabecera.",
        "El demandante solicita la devolución de las cantidades pagadas más los intereses, porque el contrato no se cumplió en "
        "el plazo que las partes habían fijado.",
    ],
    "Dutch": [
        "De patiënt kwam met klachten van hoesten en kortademigheid. Er was geen koorts. Bij onderzoek van de longen werden geen "
        "bijzonderheden gevonden en zij kreeg het advies om over een week terug te komen.",
        "De schade aan het dak is door de storm ontstaan. Wij verzoeken u om de kosten van de reparatie te vergoeden en sturen "
        "de rekening met deze brief mee.",
    ],
    "Polish": [
        "Pacjent zgłosił się z powodu bólu w klatce piersiowej, który trwa od wczoraj. Nie był leczony w szpitalu. Wykonano EKG, "
        "które nie wykazało zmian, i pacjent został wypisany do domu.",
    ],
    "Italian": [
        "Il paziente si è presentato in ambulatorio con dolore al ginocchio da due settimane. Non assume farmaci. La radiografia "
        "è nella norma ed è stata consigliata la fisioterapia.",
    ],
    "Portuguese": [
        "A doente recorreu ao serviço de urgência com febre e tosse há três dias. Não tem alergias. Foi medicada e teve alta com "
        "indicação para ser vista pelo seu médico de família.",
    ],
    "Swedish": [
        "Patienten kom till mottagningen med hosta och feber sedan tre dagar. Det finns inga kända allergier och hon fick "
        "paracetamol. Hon ska komma tillbaka om det inte blir bättre efter en vecka.",
    ],
    "Danish or Norwegian": [
        "Pasienten kom til legen med hoste og feber som har vart i tre dager. Det er ingen kjente allergier, og han ble sendt "
        "hjem med paracetamol. Han skal komme tilbake om det ikke blir bedre.",
    ],
    "Czech": [
        "Pacient se dostavil pro bolesti na hrudi, které trvají od včerejška. Nebyl léčen v nemocnici. Bylo provedeno EKG, které "
        "je bez změn, a pacient byl propuštěn do domácí péče.",
    ],
    "Hungarian": [
        "A beteg azért jelentkezett, mert három napja köhög és lázas. Gyógyszert nem szed. A vizsgálat után hazaengedték, és azt "
        "a tanácsot kapta, hogy egy hét múlva jöjjön vissza, ha nem lesz jobban, vagy már előbb is.",
    ],
    "Romanian": [
        "Pacientul s-a prezentat la urgență cu febră și tuse de trei zile. Nu este alergic la medicamente. A fost tratat și a "
        "fost externat, cu recomandarea de a se prezenta la medicul de familie pentru control.",
    ],
    "Turkish": [
        "Hasta üç gündür süren ateş ve öksürük için acil servise geldi. Bilinen bir alerjisi değil ama ilaç kullanan bir hasta "
        "olarak izlendi ve daha sonra taburcu edildi. Bir hafta sonra kontrol için gelmesi önerildi.",
    ],
    "Finnish": [
        "Potilas tuli vastaanotolle, koska hän on yskinyt kolme päivää ja kuume on noussut. Lääkkeitä ei ole käytössä. Tutkimus "
        "oli normaali, ja hän sai ohjeen tulla uudelleen, jos vointi ei ole parempi viikon jälkeen.",
    ],
    "another script": [
        "Пациент поступил с жалобами на боли в груди, которые продолжаются со вчерашнего дня. Лечение не проводилось.",
        "患者は三日前から咳と発熱があり、昨日から呼吸が苦しくなったため救急外来を受診した。胸部レントゲン写真では右下肺野に浸潤影を認め、肺炎と診断されたため入院となった。",
        "حضر المريض إلى العيادة بسبب ألم في الصدر مستمر منذ يوم أمس ولم يتلق أي علاج قبل ذلك في المستشفى أو في أي مكان",
    ],
}


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
