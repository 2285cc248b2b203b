"""Compared models through vLLM: what is refused. vLLM is not in this environment; `make bench-judge` runs it."""

from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import ChangedFolderError, RecipeError
from fine_tune_assets.core.fingerprints import fingerprint_folder
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets_tests.judging.evaluation.small_adapters import (
    CONVERSATIONS,
    as_incumbent,
    evaluation_request,
    folders,
)

__all__ = ["folders"]
pytestmark = pytest.mark.slow


def _answers(request: dict[str, Any], run_folder: Path, engine_python: Path = Path("/none")) -> dict[str, list[str]]:
    from fine_tune_assets.judging.evaluation.vllm_models import served_contestants

    served = {**request, "judge": {"run_folder": str(run_folder), "vllm_python": str(engine_python)}}
    with served_contestants(served, ignore_progress) as contestants:
        return {c.role: [a.text for a in c.generate(CONVERSATIONS)] for c in contestants}


def test_a_qlora_candidate_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    """vLLM quantizes the base model differently, which makes another model."""
    with pytest.raises(RecipeError, match=r"judge\.engine: transformers"):
        _answers({**evaluation_request(folders), "is_quantized": True}, tmp_path)


def test_a_qlora_incumbent_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    """Merged into the unquantized base model, it would differ from the production model."""
    with pytest.raises(RecipeError, match=r"judge\.engine: transformers"):
        _answers({**evaluation_request(folders), **as_incumbent(folders, "quantized")}, tmp_path)


def test_changed_weights_are_not_served(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ChangedFolderError):
        _answers({**evaluation_request(folders), "adapter_id": "another"}, tmp_path)


def test_merged_weights_answer_like_the_adapter(folders: dict[str, Path], tmp_path: Path) -> None:
    """On a CPU, vLLM serves the merged weights, which must match the adapter."""
    import torch

    from fine_tune_assets.engines.transformers_models import (
        load_adapted,
        load_model,
        load_tokenizer,
        write_merged_model,
    )

    request, merged = evaluation_request(folders), tmp_path / "merged"
    write_merged_model(folders["base"], folders["adapter"], "float16", merged)
    adapted, base = load_adapted(folders["base"], folders["adapter"]), load_model(folders["base"])
    ids = load_tokenizer(merged)("The knee is sore.", return_tensors="pt").input_ids
    with torch.no_grad():
        wanted, found, without = (torch.log_softmax(m(ids).logits, -1) for m in (adapted, load_model(merged), base))
    assert float((wanted.exp() * (wanted - found)).sum(-1).mean()) < 1e-3
    assert float((wanted.exp() * (wanted - without)).sum(-1).mean()) > 1e-2
    assert request["base_fingerprint"] == fingerprint_folder(folders["base"])
