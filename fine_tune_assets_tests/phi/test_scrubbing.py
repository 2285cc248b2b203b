"""What is removed, and what must stay: both failures are silent, and both ruin what is trained on."""

import subprocess
import sys
from dataclasses import replace

import pytest

from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.progress import silent
from fine_tune_assets.core.tables import PHI_SPANS, REPORTS, SCRUBBED_REPORTS, check_table, table_of
from fine_tune_assets.phi.scrubbing import Scrubber, ScrubberError, build_scrubber, scrub_reports, scrubber_version
from fine_tune_assets.recipes.schema import ScrubSettings

NAME = [{"kind": "name", "value": "Quixley Van Zandt"}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Seen on 03/14/2024 for cough.", "Seen on [DATE] for cough."),
        ("Born 02 October 1978.", "Born [DATE]."),
        ("On Nov 3rd, 2022 she fell.", "On [DATE] she fell."),
        ("Operated in March 2019.", "Operated in [DATE]."),
        ("Since October she coughs.", "Since [DATE] she coughs."),
        ("Visit of April fifteenth two thousand five went well.", "Visit of [DATE] went well."),
        ("She is a 93-year-old woman.", "She is a [AGE] woman."),
        ("He is ninety one years of age.", "He is [AGE]."),
        ("SSN 000-12-3456.", "SSN [SSN]."),
        ("MRN 5583920, chart A-10023.", "MRN [ID], chart [ID]."),
        ("Call (559) 555-0142.", "Call [PHONE]."),
        ("Write to a.b@example.org.", "Write to [EMAIL]."),
        ("See www.example.org/a for more.", "See [URL] for more."),
        ("Lives at 768 Silver Road.", "Lives at [LOCATION]."),
        ("Referred by Dr. Quixley today.", "Referred by [NAME] today."),
        ("Seen at Cedar Falls General Hospital.", "Seen at [FACILITY]."),
    ],
)
def test_what_has_a_form_is_replaced_by_its_kind(scrubber: Scrubber, text: str, expected: str) -> None:
    """These are certain enough to promise; names in free text are measured instead."""
    assert scrubber.scrub(text, ()).text == expected


@pytest.mark.parametrize(
    "text",
    [
        "The patient is a 50-year-old female with back pain for two weeks, worse daily.",
        "Initiate Ultram 50 mg every 6 hours. Continue Synthroid and Lasix 40 mg.",
        "BP 169/74, pulse 72, SpO2 98%, temperature 36.8. Strength 5/5 at C6 and L5.",
        "3/7 hx of diarrhea, pain 6/10, hemoglobin A1c 6.1, 2/6 systolic murmur.",
        "• Medical Reasoning: Vitamin D. Hepatitis C. Tinel's and McMurray's tests are negative.",
        "Doctor: Hello. How are you?\nPatient: I may have a cold.\nGuest_family: She does.",
    ],
)
def test_ordinary_clinical_text_survives(scrubber: Scrubber, text: str) -> None:
    """A medicine or a duration that is masked is lost for training, and the model learns to write [NAME] instead."""
    assert scrubber.scrub(text, ()).text == text


@pytest.mark.parametrize("heading", ["DIALOGUE", "SECTION", "HISTORY OF PRESENT ILLNESS", "ASSESSMENT AND PLAN"])
def test_headings_survive(scrubber: Scrubber, heading: str) -> None:
    """The recipe finds sections by them: a masked heading loses the example."""
    assert scrubber.scrub(f"{heading}\n\nShe rests.\n", ()).text == f"{heading}\n\nShe rests.\n"


@pytest.mark.parametrize(
    "text",
    ["quixley van zandt rests", "Zandt rests", "QUIXLEY rests", "Quixley\nVan Zandt's rests", "ZANDT\n\nrests"],
)
def test_a_known_name_goes_however_it_is_written(scrubber: Scrubber, text: str) -> None:
    """No recogniser knows a rare name in lower case; the report's own metadata does."""
    scrubbed = scrubber.scrub(text, NAME).text.lower()
    assert "quixley" not in scrubbed
    assert "zandt" not in scrubbed
    assert "rests" in scrubbed


def test_a_known_name_that_is_a_word_leaves_the_word_alone(scrubber: Scrubber) -> None:
    """Dr. Good's reports would otherwise lose every "good"."""
    known = [{"kind": "name", "value": "Scott Good"}]
    assert scrubber.scrub("Good thinks it is good; scott good agrees.", known).text == (
        "[NAME] thinks it is good; [NAME] agrees."
    )


def test_known_ages_are_removed_only_above_89(scrubber: Scrubber) -> None:
    """Up to 89 an age is no identifier, and it is what a note is about."""
    assert scrubber.scrub("Age 48. 48 tablets.", [{"kind": "age", "value": "48"}]).text == "Age 48. 48 tablets."
    assert scrubber.scrub("Now 91, SpO2 91%.", [{"kind": "age", "value": "91"}]).text == "Now [AGE], SpO2 91%."


def test_other_known_identifiers_go_wherever_they_stand(scrubber: Scrubber) -> None:
    """Ids have any form; only the metadata knows this one."""
    known = [{"kind": "id", "value": "va-zz"}, {"kind": "address", "value": "Old Mill"}]
    assert scrubber.scrub("File VA-ZZ, from old  mill.", known).text == "File [ID], from [LOCATION]."


def test_spans_point_into_the_raw_text(scrubber: Scrubber) -> None:
    """An auditor looks a finding up by its offsets, since the value itself is stored nowhere."""
    text = "MRN 5583920 was seen on 03/14/2024."
    spans = scrubber.scrub(text, ()).spans
    assert [(text[s.start : s.end], s.label) for s in spans] == [("5583920", "ID"), ("03/14/2024", "DATE")]


def _reports(texts: list[str]) -> list[dict[str, object]]:
    return [
        {
            "report_id": f"b/{n}",
            "batch": "b",
            "source": "s",
            "patient_key": "k",
            "text": text,
            "known_identifiers": NAME,
            "origin_file": "f",
            "fingerprint": "x",
        }
        for n, text in enumerate(texts)
    ]


def test_a_table_of_reports_is_scrubbed_the_same_twice(scrubber: Scrubber) -> None:
    """Results that depended on batching or order would start all that follows again."""
    reports = table_of(_reports([f"Zandt was seen on 03/14/20{n:02}." for n in range(40)]), REPORTS)
    first, second = scrub_reports(reports, scrubber, silent), scrub_reports(reports, scrubber, silent)
    assert [fingerprint_table(t) for t in first] == [fingerprint_table(t) for t in second]
    check_table(first[0], SCRUBBED_REPORTS)
    check_table(first[1], PHI_SPANS)
    assert set(first[0].column("text").to_pylist()) == {"[NAME] was seen on [DATE]."}
    assert first[0].column("span_count").to_pylist() == [2] * 40


def test_no_reports_give_two_empty_tables(scrubber: Scrubber) -> None:
    """A batch of which nothing could be read still goes through."""
    scrubbed, spans = scrub_reports(table_of([], REPORTS), scrubber, silent)
    assert (scrubbed.num_rows, spans.num_rows) == (0, 0)


def test_the_version_follows_what_decides_and_nothing_else(settings: ScrubSettings) -> None:
    """A version that stays while rules change leaves reports scrubbed by old rules; the floor removes nothing."""
    version = scrubber_version(settings)
    assert scrubber_version(settings) == version
    assert scrubber_version(replace(settings, recall_floor=0.99)) == version
    assert scrubber_version(replace(settings, minimum_score=0.99)) != version
    assert scrubber_version(replace(settings, spacy_model="other")) != version


def test_asking_for_the_version_loads_nothing_heavy() -> None:
    """Every step process asks for it; Presidio alone takes ten seconds to load."""
    code = (
        "import sys; from fine_tune_assets.phi.scrubbing import scrubber_version;"
        "from fine_tune_assets.recipes.schema import ScrubSettings;"
        "scrubber_version(ScrubSettings(spacy_model='m', minimum_score=0.3, recall_floor=0.6));"
        "sys.exit(any(m.split('.')[0] in ('spacy', 'presidio_analyzer') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_model_that_is_not_installed_is_named_and_never_downloaded(settings: ScrubSettings) -> None:
    """Presidio would ask the internet for it."""
    with pytest.raises(ScrubberError, match="en_core_absent is not installed"):
        build_scrubber(replace(settings, spacy_model="en_core_absent"))


def test_an_address_makes_no_connection(scrubber: Scrubber, monkeypatch: pytest.MonkeyPatch) -> None:
    """Presidio's own e-mail recogniser fetches a list from the internet when it meets an address."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    assert scrubber.scrub("Mail a.b@example.org or see example.org.", ()).text.startswith("Mail [EMAIL]")
