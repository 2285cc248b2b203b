"""What is removed and what must stay: both failures are silent, and both spoil the training data."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fine_tune_assets.core.paths import PACKAGE_DIR
from fine_tune_assets.phi.scrubber import (
    Scrubber,
    ScrubberError,
    build_scrubber,
    find_model_folder,
    list_rule_files,
    scrubber_version,
)
from fine_tune_assets.recipes.domain_packs import shipped_packs
from fine_tune_assets.recipes.schema import ScrubberSettings

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
def test_values_with_a_form_are_replaced_by_their_kind(scrubber: Scrubber, text: str, expected: str) -> None:
    """These forms are certain; names in free text are measured instead."""
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
def test_ordinary_clinical_text_is_kept(scrubber: Scrubber, text: str) -> None:
    """A masked medicine or duration is lost for training, and the model learns to write [NAME] instead."""
    assert scrubber.scrub(text, ()).text == text


@pytest.mark.parametrize("mail", ["quixley_vanzandt96@mailnest.example", "Quixley.Van.Zandt@mail.example.org"])
def test_an_address_around_a_known_name_is_an_address(scrubber: Scrubber, mail: str) -> None:
    """As a name, it got surrogates such as bonner54@beasty.scully, which the scan of the final texts then took for somebody's
    address: 67 of 224 examples of one installation stopped the training."""
    assert scrubber.scrub(f"Wrote from {mail}.", NAME).text == "Wrote from [EMAIL]."
    assert scrubber.scrub("See www.quixley.org/zandt today.", NAME).text == "See [URL] today."


@pytest.mark.parametrize("heading", ["DIALOGUE", "SECTION", "HISTORY OF PRESENT ILLNESS", "ASSESSMENT AND PLAN"])
def test_headings_are_kept(scrubber: Scrubber, heading: str) -> None:
    """Recipes find sections by headings: a masked heading loses the example."""
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
def test_known_name_is_removed_in_any_spelling(scrubber: Scrubber, text: str) -> None:
    """No recognizer knows a rare name in lower case, but the report's metadata does."""
    scrubbed = scrubber.scrub(text, NAME).text.lower()
    assert "quixley" not in scrubbed
    assert "zandt" not in scrubbed
    assert "rests" in scrubbed


def test_known_name_that_is_a_word_spares_the_word(scrubber: Scrubber) -> None:
    """Otherwise Dr. Good's reports would lose every "good"."""
    known = [{"kind": "name", "value": "Scott Good"}]
    assert scrubber.scrub("Good thinks it is good; scott good agrees.", known).text == (
        "[NAME] thinks it is good; [NAME] agrees."
    )


def test_known_ages_are_removed_only_above_89(scrubber: Scrubber) -> None:
    """An age up to 89 is not an identifier, and it is clinical content."""
    assert scrubber.scrub("Age 48. 48 tablets.", [{"kind": "age", "value": "48"}]).text == "Age 48. 48 tablets."
    assert scrubber.scrub("Now 91, SpO2 91%.", [{"kind": "age", "value": "91"}]).text == "Now [AGE], SpO2 91%."


def test_other_known_identifiers_are_removed_everywhere(scrubber: Scrubber) -> None:
    """Ids have any form; only the metadata knows this one."""
    known = [{"kind": "id", "value": "va-zz"}, {"kind": "address", "value": "Old Mill"}]
    assert scrubber.scrub("File VA-ZZ, from old  mill.", known).text == "File [ID], from [LOCATION]."


def test_spans_point_into_the_raw_text(scrubber: Scrubber) -> None:
    """Auditors locate a finding by its offsets, because its value is not stored."""
    text = "MRN 5583920 was seen on 03/14/2024."
    spans = scrubber.scrub(text, ()).spans
    assert [(text[s.start : s.end], s.label) for s in spans] == [("5583920", "MRN"), ("03/14/2024", "DATE")]


def test_version_depends_only_on_what_changes_the_text(settings: ScrubberSettings) -> None:
    """A stale version would keep reports scrubbed by old rules. Recall floors do not affect the text."""
    version = scrubber_version(settings)
    assert scrubber_version(settings) == version
    for floor in ("recall_floor", "direct_recall_floor"):
        assert scrubber_version(replace(settings, **{floor: 0.991})) == version
    for change in (
        {"minimum_score": 0.99},
        {"withhold_score": 0.99},
        {"replacement": "tags"},
        {"profile": "limited_dataset"},
        {"day_first_dates": True},
        {"shift_dates": True},
        {"entity_model": "spacy:other"},
    ):
        assert scrubber_version(replace(settings, **change)) != version, change  # type: ignore[arg-type]


def test_reading_the_version_loads_nothing_heavy() -> None:
    """Every step process reads it; Presidio alone takes ten seconds to load."""
    code = (
        "import sys; from fine_tune_assets.phi.scrubber import scrubber_version;"
        "from fine_tune_assets.recipes.loader import load_recipe;"
        "scrubber_version(load_recipe('demo_smollm2').scrubber);"
        "heavy = ('spacy', 'presidio_analyzer', 'onnxruntime', 'torch', 'transformers');"
        "sys.exit(any(m.split('.')[0] in heavy for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_missing_model_is_named_and_never_downloaded(settings: ScrubberSettings) -> None:
    """Presidio would download it."""
    with pytest.raises(ScrubberError, match="en_core_absent"):
        build_scrubber(replace(settings, entity_model="spacy:en_core_absent"))
    with pytest.raises(ScrubberError, match="missing/model"):
        build_scrubber(replace(settings, entity_model="missing/model"))


def test_different_tagger_changes_the_version(tmp_path: Path, settings: ScrubberSettings) -> None:
    """A retrained tagger under the same name must be measured again."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model.int8.onnx").write_bytes(b"one")
    own = replace(settings, entity_model=str(folder))
    version = scrubber_version(own)
    assert version != scrubber_version(settings)
    (folder / "model.int8.onnx").write_bytes(b"two, and longer")
    assert scrubber_version(own) != version


def test_relative_model_folder_is_below_the_data_folder(
    settings: ScrubberSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`phi_taggers` lists such relative folders, and steps run in any working directory."""
    monkeypatch.setenv("FINE_TUNE_DATA_DIR", str(tmp_path))
    (tmp_path / "taggers" / "abc").mkdir(parents=True)
    for name, folder in (("taggers/abc", tmp_path / "taggers" / "abc"), (str(tmp_path), tmp_path)):
        assert find_model_folder(replace(settings, entity_model=name)) == folder


def test_the_domain_decides_which_bundled_tagger_runs(settings: ScrubberSettings) -> None:
    """The clinical tagger misses names and addresses of contracts; the other one misses care sites."""
    folders = {domain: find_model_folder(replace(settings, domain=domain)) for domain in shipped_packs()}
    assert {domain: folder.name for domain, folder in folders.items()} == {
        "clinical": "clinical",
        "finance": "law_finance",
        "law": "law_finance",
    }
    assert all((folder / "model.int8.onnx").is_file() for folder in folders.values())


def test_email_address_opens_no_connection(scrubber: Scrubber, monkeypatch: pytest.MonkeyPatch) -> None:
    """Presidio's own e-mail recognizer downloads a list when it finds an address."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    assert scrubber.scrub("Mail a.b@example.org or see example.org.", ()).text.startswith("Mail [EMAIL]")


def _token_classifier(settings: ScrubberSettings, folder: Path, labels: list[str], always: int) -> Path:
    """A Hugging Face folder with a classifier that gives every word the same label."""
    import torch
    from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

    special = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "pad", "cls", "sep", "mask")}
    tokenizer_file = str(find_model_folder(settings) / "tokenizer.json")
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
def test_one_setting_replaces_the_tagger_with_another_classifier(settings: ScrubberSettings, tmp_path: Path) -> None:
    """A hospital must be able to use its own model."""
    folder = _token_classifier(settings, tmp_path / "own", ["O", "B-PER", "I-PER"], always=1)
    own = build_scrubber(replace(settings, entity_model=str(folder)))
    assert own.scrub("Quixley rests at home.", ()).text == "[NAME] rests at home."


@pytest.mark.slow
def test_classifier_with_unknown_labels_is_rejected(settings: ScrubberSettings, tmp_path: Path) -> None:
    """It would find nothing, and the gate would only report low recall."""
    folder = _token_classifier(settings, tmp_path / "other", ["O", "VERB"], always=1)
    with pytest.raises(ScrubberError, match="other"):
        build_scrubber(replace(settings, entity_model=str(folder)))


def named_by_the_scrubber() -> set[str]:
    """The lists of the clinical pack and the modules of `quantities` that a module of `phi` names."""
    read = [
        path.read_text(encoding="utf-8")
        for path in (PACKAGE_DIR / "phi").rglob("*.py")
        if "tagger_training" not in path.parts
    ]
    lists = {
        f"packs/clinical/{name}.txt" for text in read for name in re.findall(r'pack_(?:lists|words)\("(\w+)"\)', text)
    }
    return lists | {f"quantities/{name}.py" for text in read for name in re.findall(r"quantities\.(\w+) import", text)}


def test_word_lists_are_part_of_the_version() -> None:
    """A changed list changes what is removed: reports must be scrubbed again, and the shipped recall becomes invalid."""
    named = {str(path.relative_to(PACKAGE_DIR)) for path in list_rule_files()}
    assert {"core/word_lists.py", "phi/scrubber.py", "phi/replacement/surrogates.py", "quantities/dates.py"} <= named
    assert {str(p.relative_to(PACKAGE_DIR)) for p in (PACKAGE_DIR / "phi" / "reference").glob("*.txt")} <= named
    assert named_by_the_scrubber() <= named
