"""Whether judge and candidate are of one family, from names and the models' own files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fine_tune_assets.judging.judges.judge_family import is_same_family, model_families, same_family_reason
from fine_tune_assets.judging.verdicts.judge_status import judge_status
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import BaseModelSettings
from fine_tune_assets.training.base_models.registration import bundled_gguf
from fine_tune_assets_tests.judging.verdict_inputs import JUDGE, agreement

JUDGE_SETTINGS = replace(load_recipe("demo_smollm2").judge, kind="rubric", model="judge")
BASE = BaseModelSettings(name="Llama-3.1-8B-Instruct", licence="x")


@pytest.mark.parametrize(
    ("name", "families"),
    [
        ("Llama-3.3-70B-Instruct", {"llama"}),
        ("meta/CodeLlama-7b", {"llama"}),
        ("Mixtral-8x7B", {"mistral"}),
        ("DeepSeek-R1-Distill-Qwen-7B", {"deepseek", "qwen"}),
        ("Phi-3-mini", {"phi"}),
        ("dolphin", set()),
        ("judge", set()),
    ],
)
def test_a_name_tells_the_family(name: str, families: set[str]) -> None:
    assert model_families(name, None) == families


def test_without_a_telling_name_the_architecture_tells_the_family(tmp_path: Path) -> None:
    (tmp_path / "judge").mkdir()
    (tmp_path / "judge" / "config.json").write_text(
        json.dumps({"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]})
    )
    assert model_families("judge", tmp_path / "judge") == {"qwen"}
    (tmp_path / "judge" / "config.json").write_text(json.dumps({"model_type": "xyz"}))
    assert model_families("judge", tmp_path / "judge") == {"xyz"}
    assert model_families("judge", tmp_path / "none") == set()


def test_a_gguf_file_tells_its_family() -> None:
    assert model_families("judge.gguf", bundled_gguf()) in ({"smollm"}, {"llama"})


def test_a_judge_of_the_candidates_family_is_recognized(tmp_path: Path) -> None:
    same = replace(JUDGE_SETTINGS, model="Llama-3.3-70B-Instruct")
    assert is_same_family(same, BASE, tmp_path)
    assert not is_same_family(replace(same, model="Qwen2.5-72B-Instruct"), BASE, tmp_path)
    assert not is_same_family(replace(same, kind="verifier"), BASE, tmp_path)


def test_a_judge_of_the_candidates_family_does_not_decide_alone() -> None:
    """Models prefer their own family's wording."""
    qualified = judge_status("judge", agreement(), JUDGE)
    assert qualified.is_qualified
    flagged = judge_status("judge", agreement(), replace(JUDGE, kind="rubric", is_same_family=True))
    assert not flagged.is_qualified
    assert flagged.failure_reason == same_family_reason("rubric", True)
    assert same_family_reason("verifier", True) == ""
    unflagged = judge_status("judge", agreement(), replace(JUDGE, kind="rubric"))
    assert flagged.blind_spots.startswith(unflagged.blind_spots)
    assert flagged.blind_spots != unflagged.blind_spots
