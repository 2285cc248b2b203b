"""The cards of a release: Hugging Face can read them, and missing measurements are named."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from fine_tune_assets.core.shared_records import Verdict
from fine_tune_assets.merging.cards import data_card, model_card
from fine_tune_assets.merging.certificates import leakage_certificate, scrub_certificate
from fine_tune_assets_tests.ledger.ledger_rows import make_verdict
from fine_tune_assets_tests.merging.whole_release import EVIDENCE, JUDGE, RECALL, SET, model_facts


def _verdict(decision: str = "promote", **evidence: Any) -> Verdict:
    return make_verdict(decision, evidence=json.dumps({**EVIDENCE, **evidence}))


def test_hugging_face_can_read_the_front_matter(tmp_path: Path) -> None:
    """Parsed by its own library, offline."""
    from huggingface_hub import ModelCard

    (tmp_path / "README.md").write_text(model_card(model_facts(_verdict())), encoding="utf-8")
    data = ModelCard.load(tmp_path / "README.md").data
    assert (data.license, data.base_model, data.pipeline_tag) == (
        "apache-2.0",
        "smollm2-135m-instruct",
        "text-generation",
    )


def test_a_licence_unknown_to_the_hub_keeps_its_name() -> None:
    facts = model_facts(_verdict())
    card = model_card(model_facts(_verdict(), base=replace(facts.base, licence="LicenseRef-ours")))
    head = yaml.safe_load(card.split("---\n")[1])
    assert (head["license"], head["license_name"]) == ("other", "LicenseRef-ours")


@pytest.mark.parametrize(
    "expected",
    [
        "not a medical device",
        "licence | Apache-2.0 |",
        "lora, 30 examples, 9 steps",
        "| asq_phi | all | 95 of 100 | 0.95 | 0.9 to 0.99 |",
        "| asq_phi | direct | 98 of 100 |",
        "all 0.9, direct 0.95",
        "0.61; required: 0.4. The judge is qualified.",
        "**promote**",
        "| grade | 7.25 | 6.5 | 0.75 | 0.31 to 1.19 | 40 |",
        "| copa | not measured | not measured | not measured | not measured | 40 | 0.1 | unknown: It was not measured. |",
        "| adapter to safetensors | mean_kl | 0.0001 | 0.002 |",
        "| adapter to safetensors | top1_agreement | not measured |  |",
        "| safetensors to q8_0 | mean_kl | 0.0015 | 0.02 |",
        "| safetensors to q8_0 | top1_agreement | 0.99 | 0.95 |",
        "1 of 2 gated metrics",
        "30 train, 5 validation, 10 test",
    ],
)
def test_the_model_card_contains(expected: str) -> None:
    """Use, origin, scrubbing, judge, verdict with its interval, abilities, parity and limitations, with numbers."""
    assert expected in model_card(model_facts(_verdict()))


def test_missing_measurements_and_an_unqualified_judge_are_named() -> None:
    judge = {
        **JUDGE,
        "is_qualified": False,
        "agreement": None,
        "failure_reason": "It was not measured against experts.",
    }
    verdict = _verdict("hold", judge=judge)
    facts = model_facts(
        verdict, signers=("An Approver",), scrub=scrub_certificate(["s2"], {"all": 0.9}, RECALL, "marked")
    )
    card = model_card(facts)
    assert "grades: not measured; required" in card
    assert "The judge is not qualified. It was not measured against experts." in card
    assert "**hold**" in card
    assert "Signed by An Approver." in card
    assert "- The judge is not qualified" in card
    assert "1 of 1 scrubbers" in card
    assert "95 of 100" not in card  # belongs to another scrubber


def test_the_dataset_card_extends_the_sets_card_with_scrubbing() -> None:
    card = data_card(
        "# Instruction set\n", scrub_certificate(["s1"], {"all": 0.9}, RECALL, "m"), leakage_certificate(SET)
    )
    assert card.startswith("# Instruction set\n")
    assert "95 of 100" in card
    assert "exact, near" in card


def test_missed_identifiers_do_not_count_as_recall() -> None:
    """The set of missed identifiers contains only misses, so its recall would mislead."""
    marked = [replace(measure, labelled_set="marked", hits=0) for measure in RECALL]
    scrub = scrub_certificate(["s1"], {}, [*RECALL, *marked], "marked")
    assert len(scrub["measures"]) == 4
    assert "0 of 100" not in model_card(model_facts(_verdict(), scrub=scrub))
