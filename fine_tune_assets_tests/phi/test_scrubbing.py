"""What is removed, and what must stay: both failures are silent, and both ruin what is trained on."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fine_tune_assets.core.paths import PACKAGE_DIR
from fine_tune_assets.phi.scrubbing import (
    Scrubber,
    ScrubberError,
    build_scrubber,
    decisive_files,
    model_folder,
    scrubber_version,
)
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
        ("MRN 5583920, chart A-10023.", "MRN [MRN], chart [MRN]."),
        ("Call (559) 555-0142.", "Call [PHONE]."),
        ("Write to a.b@example.org.", "Write to [EMAIL]."),
        ("More of it is at www.example.org/a today.", "More of it is at [URL] today."),
        ("Lives at 768 Silver Road today.", "Lives at [LOCATION] today."),
        ("Referred by Dr. Quixley today.", "Referred by [NAME] today."),
        ("She was seen at Cedar Falls General Hospital today.", "She was seen at [FACILITY] today."),
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
    [
        "The patient, quixley van zandt, rests.",
        "Today Zandt rests.",
        "Today QUIXLEY rests.",
        "Quixley\nVan Zandt's arm rests.",
        "ZANDT\n\nHe rests.",
    ],
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
    assert [(text[s.start : s.end], s.label) for s in spans] == [("5583920", "MRN"), ("03/14/2024", "DATE")]


def test_the_version_follows_what_decides_and_nothing_else(settings: ScrubSettings) -> None:
    """A version that stays while rules change leaves reports scrubbed by old rules; the floor removes nothing."""
    version = scrubber_version(settings)
    assert scrubber_version(settings) == version
    for floor in ("recall_floor", "direct_recall_floor"):
        assert scrubber_version(replace(settings, **{floor: 0.991})) == version
    for change in (
        {"minimum_score": 0.99},
        {"hold_score": 0.99},
        {"replacement": "tags"},
        {"profile": "limited_dataset"},
        {"day_first_dates": True},
        {"shift_dates": True},
        {"entity_model": "spacy:other"},
    ):
        assert scrubber_version(replace(settings, **change)) != version, change  # type: ignore[arg-type]


def test_asking_for_the_version_loads_nothing_heavy() -> None:
    """Every step process asks for it; Presidio alone takes ten seconds to load."""
    code = (
        "import sys; from fine_tune_assets.phi.scrubbing import scrubber_version;"
        "from fine_tune_assets.recipes.loader import load_recipe;"
        "scrubber_version(load_recipe('demo_smollm2').scrub);"
        "heavy = ('spacy', 'presidio_analyzer', 'onnxruntime', 'torch', 'transformers');"
        "sys.exit(any(m.split('.')[0] in heavy for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_model_that_is_not_installed_is_named_and_never_downloaded(settings: ScrubSettings) -> None:
    """Presidio would ask the internet for it."""
    with pytest.raises(ScrubberError, match="en_core_absent is not installed"):
        build_scrubber(replace(settings, entity_model="spacy:en_core_absent"))
    with pytest.raises(ScrubberError, match="There is no folder somebody/model"):
        build_scrubber(replace(settings, entity_model="somebody/model"))


def test_another_tagger_is_another_version_wherever_it_lies(tmp_path: Path, settings: ScrubSettings) -> None:
    """A tagger that was trained again under the same name must be measured again."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model.int8.onnx").write_bytes(b"one")
    own = replace(settings, entity_model=str(folder))
    version = scrubber_version(own)
    assert version != scrubber_version(settings)
    (folder / "model.int8.onnx").write_bytes(b"two, and longer")
    assert scrubber_version(own) != version


def test_a_relative_folder_is_one_below_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`phi_taggers` names its folders so, and steps run in any working directory."""
    monkeypatch.setenv("FINE_TUNE_DATA_DIR", str(tmp_path))
    (tmp_path / "taggers" / "abc").mkdir(parents=True)
    assert model_folder("taggers/abc") == tmp_path / "taggers" / "abc"
    assert model_folder(str(tmp_path)) == tmp_path


def test_an_address_makes_no_connection(scrubber: Scrubber, monkeypatch: pytest.MonkeyPatch) -> None:
    """Presidio's own e-mail recogniser fetches a list from the internet when it meets an address."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    assert scrubber.scrub("Mail a.b@example.org or see example.org.", ()).text.startswith("Mail [EMAIL]")


def _token_classifier(folder: Path, labels: list[str], always: int) -> Path:
    """A Hugging Face folder with a classifier that gives every word one label."""
    import torch
    from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

    special = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "pad", "cls", "sep", "mask")}
    tokenizer_file = str(model_folder("tagger") / "tokenizer.json")
    PreTrainedTokenizerFast(tokenizer_file=tokenizer_file, model_max_length=512, **special).save_pretrained(folder)
    config = BertConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        id2label=dict(enumerate(labels)),
    )
    model = BertForTokenClassification(config)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.eye(len(labels))[always] * 9)
    model.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_another_token_classifier_takes_the_taggers_place_by_one_setting(
    settings: ScrubSettings, tmp_path: Path
) -> None:
    """A hospital that has a model of its own must be able to use it."""
    folder = _token_classifier(tmp_path / "own", ["O", "B-PER", "I-PER"], always=1)
    own = build_scrubber(replace(settings, entity_model=str(folder)))
    assert own.scrub("Quixley rests at home.", ()).text == "[NAME] rests at home."


@pytest.mark.slow
def test_a_classifier_of_something_else_is_refused(settings: ScrubSettings, tmp_path: Path) -> None:
    """It would find nothing, and the gate would only say that recall is low."""
    folder = _token_classifier(tmp_path / "other", ["O", "VERB"], always=1)
    with pytest.raises(ScrubberError, match="no token classifier"):
        build_scrubber(replace(settings, entity_model=str(folder)))


def named_by_the_scrubber() -> set[str]:
    """The lists of the domain pack, and modules of `quantities`, that a module of `phi` names."""
    read = [
        path.read_text(encoding="utf-8")
        for path in (PACKAGE_DIR / "phi").rglob("*.py")
        if "tagger_training" not in path.parts
    ]
    lists = {
        f"packs/clinical/{name}.txt" for text in read for name in re.findall(r'pack_(?:lists|words)\("(\w+)"\)', text)
    }
    return lists | {f"quantities/{name}.py" for text in read for name in re.findall(r"quantities\.(\w+) import", text)}


def test_the_lists_that_it_reads_are_part_of_its_version() -> None:
    """A changed list changes what is removed: reports are scrubbed again, and the shipped recall is no longer its own."""
    named = {str(path.relative_to(PACKAGE_DIR)) for path in decisive_files()}
    assert {"core/word_lists.py", "phi/scrubbing.py", "phi/replacement/surrogates.py", "quantities/dates.py"} <= named
    assert {str(p.relative_to(PACKAGE_DIR)) for p in (PACKAGE_DIR / "phi" / "reference").glob("*.txt")} <= named
    assert named_by_the_scrubber() <= named
