"""Contestants that answer through vLLM: what is refused. The server is not in this environment; `make bench-judge` runs it."""

from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import ChangedFolderError, RecipeError
from fine_tune_assets.core.fingerprints import fingerprint_folder
from fine_tune_assets.core.progress import silent
from fine_tune_assets_tests.judging.contestants.test_contestants import CONVERSATIONS, _as_incumbent, _request, folders

__all__ = ["folders"]
pytestmark = pytest.mark.slow


def _answers(request: dict[str, Any], run_folder: Path, engine_python: Path = Path("/none")) -> dict[str, list[str]]:
    from fine_tune_assets.judging.contestants.served_models import served_contestants

    served = {**request, "judge": {"run_folder": str(run_folder), "vllm_python": str(engine_python)}}
    with served_contestants(served, silent) as contestants:
        return {c.role: [a.text for a in c.generate(CONVERSATIONS)] for c in contestants}


def test_an_adapter_on_a_base_in_4_bits_does_not_answer_there(folders: dict[str, Path], tmp_path: Path) -> None:
    """vLLM would round the base model otherwise: another model than the one that was trained."""
    with pytest.raises(RecipeError, match=r"judge\.engine: transformers"):
        _answers({**_request(folders), "is_quantized": True}, tmp_path)


def test_an_incumbent_on_a_base_in_4_bits_does_not_answer_there_either(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    """Merged into the unquantised base it is not the model that serves: a candidate would be compared with nobody's."""
    with pytest.raises(RecipeError, match="the adapter that serves now"):
        _answers({**_request(folders), **_as_incumbent(folders, "quantized")}, tmp_path)


def test_weights_that_were_changed_on_the_disk_are_not_served(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ChangedFolderError, match="is not the one on record"):
        _answers({**_request(folders), "adapter_id": "another"}, tmp_path)


def test_where_adapters_are_merged_the_answer_is_the_adapters(folders: dict[str, Path], tmp_path: Path) -> None:
    """On a CPU vLLM serves these weights: what is judged must be the adapter, in a folder that a server can read."""
    import torch

    from fine_tune_assets.engines.transformers_models import load_adapted, load_model, load_tokenizer, write_merged

    request, merged = _request(folders), tmp_path / "merged"
    write_merged(folders["base"], folders["adapter"], "float16", merged)
    worn, base = load_adapted(folders["base"], folders["adapter"]), load_model(folders["base"])
    ids = load_tokenizer(merged)("The knee is sore.", return_tensors="pt").input_ids
    with torch.no_grad():
        wanted, found, without = (torch.log_softmax(m(ids).logits, -1) for m in (worn, load_model(merged), base))
    assert float((wanted.exp() * (wanted - found)).sum(-1).mean()) < 1e-3
    assert float((wanted.exp() * (wanted - without)).sum(-1).mean()) > 1e-2
    assert request["base_fingerprint"] == fingerprint_folder(folders["base"])
