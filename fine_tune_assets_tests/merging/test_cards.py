"""The cards of a release: what Hugging Face reads of them, and that what is missing is called so."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from fine_tune_assets.core.records import Verdict
from fine_tune_assets.merging.cards import data_card, model_card
from fine_tune_assets.merging.certificates import leakage_certificate, scrub_certificate
from fine_tune_assets_tests.ledger.made import make_verdict
from fine_tune_assets_tests.merging.released import EVIDENCE, JUDGE, RECALL, SET, model_facts


def _verdict(decision: str = "promote", **evidence: Any) -> Verdict:
    return make_verdict(decision, evidence=json.dumps({**EVIDENCE, **evidence}))


def test_the_front_matter_is_what_hugging_face_reads(tmp_path: Path) -> None:
    """Read by its own library, without a network."""
    from huggingface_hub import ModelCard

    (tmp_path / "README.md").write_text(model_card(model_facts(_verdict())), encoding="utf-8")
    data = ModelCard.load(tmp_path / "README.md").data
    assert (data.license, data.base_model, data.pipeline_tag) == (
        "apache-2.0",
        "smollm2-135m-instruct",
        "text-generation",
    )


def test_a_licence_that_the_hub_does_not_list_keeps_its_name() -> None:
    facts = model_facts(_verdict())
    card = model_card(model_facts(_verdict(), base=replace(facts.base, licence="LicenseRef-ours")))
    head = yaml.safe_load(card.split("---\n")[1])
    assert (head["license"], head["license_name"]) == ("other", "LicenseRef-ours")


@pytest.mark.parametrize(
    "told",
    [
        "not a medical device",
        "| its licence | Apache-2.0 |",
        "lora, 30 examples, 9 steps",
        "| asq_phi | all | 95 of 100 | 0.95 | 0.9 to 0.99 |",
        "| asq_phi | direct | 98 of 100 |",
        "The recipe demands at least: all 0.9, direct 0.95",
        "people's ratings: 0.61; asked for: 0.4. It may decide.",
        "**promote**",
        "| grade | 7.25 | 6.5 | 0.75 | 0.31 to 1.19 | 40 |",
        "| copa | not measured | not measured | not measured | not measured | 40 | 0.1 | unknown: It was not measured. |",
        "| adapter to safetensors | mean_kl | 0.0001 | 0.002 |",
        "| adapter to safetensors | top1_agreement | not measured |  |",
        "| safetensors to q8_0 | mean_kl | 0.0015 | 0.02 |",
        "| safetensors to q8_0 | top1_agreement | 0.99 | 0.95 |",
        "1 of 2 figures that were asked for could not be told",
        "30 train, 5 validation, 10 test",
    ],
)
def test_the_model_card_tells(told: str) -> None:
    """Use, origin, cleaning, judge, verdict with its interval, abilities, parity and limits: for a reader, in figures."""
    assert told in model_card(model_facts(_verdict()))


def test_what_is_missing_is_called_so_and_a_judge_without_a_licence_is_a_limit() -> None:
    judge = {**JUDGE, "licensed": False, "agreement": None, "why_not": "It was not measured against experts."}
    verdict = _verdict("hold", judge=judge)
    facts = model_facts(
        verdict, signers=("An Approver",), scrub=scrub_certificate(["s2"], {"all": 0.9}, RECALL, "marked")
    )
    card = model_card(facts)
    assert "people's ratings: not measured" in card
    assert "It may not decide. It was not measured against experts." in card
    assert "**hold**" in card
    assert "Signed by An Approver." in card
    assert "The judge has no licence" in card
    assert "1 of 1 scrubbers behind the set are not in scrub_recall any more" in card
    assert "95 of 100" not in card  # of another scrubber


def test_the_dataset_card_adds_to_that_of_the_set_how_it_was_cleaned() -> None:
    card = data_card(
        "# Instruction set\n", scrub_certificate(["s1"], {"all": 0.9}, RECALL, "m"), leakage_certificate(SET)
    )
    assert card.startswith("# Instruction set\n")
    assert "95 of 100" in card
    assert "Looked for: exact, near." in card


def test_reviewers_marks_are_no_recall() -> None:
    """The set of what was missed holds misses only: its share would frighten or please for nothing."""
    marked = [replace(measure, labelled_set="marked", hits=0) for measure in RECALL]
    scrub = scrub_certificate(["s1"], {}, [*RECALL, *marked], "marked")
    assert len(scrub["measures"]) == 4
    assert "0 of 100" not in model_card(model_facts(_verdict(), scrub=scrub))
