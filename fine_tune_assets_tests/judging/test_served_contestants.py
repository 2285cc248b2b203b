"""Contestants that answer through vLLM: what is refused, and, where vLLM is installed, that each answers with its own weights."""

from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import ChangedFolderError, RecipeError
from fine_tune_assets.core.progress import silent
from fine_tune_assets.core.settings import Settings
from fine_tune_assets_tests.judging.test_contestants import CONVERSATIONS, _request, folders

__all__ = ["folders"]
pytestmark = pytest.mark.slow
VLLM = Settings().vllm_interpreter


def _answers(request: dict[str, Any], run_folder: Path, engine_python: Path = VLLM) -> dict[str, list[str]]:
    from fine_tune_assets.judging.served_contestants import served_contestants

    served = {**request, "judge": {"run_folder": str(run_folder), "vllm_python": str(engine_python)}}
    with served_contestants(served, silent) as contestants:
        return {c.role: [a.text for a in c.generate(CONVERSATIONS)] for c in contestants}


def test_an_adapter_on_a_base_in_4_bits_does_not_answer_there(folders: dict[str, Path], tmp_path: Path) -> None:
    """vLLM would round the base model otherwise: another model than the one that was trained."""
    with pytest.raises(RecipeError, match=r"judge\.engine: transformers"):
        _answers({**_request(folders), "is_quantized": True}, tmp_path)


def test_weights_that_were_changed_on_the_disk_are_not_served(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ChangedFolderError, match="is not the one on record"):
        _answers({**_request(folders), "adapter_id": "another"}, tmp_path)


@pytest.mark.skipif(not VLLM.is_file(), reason="vLLM is not installed: make compat-proof makes its environment")
def test_base_candidate_and_incumbent_each_answer_with_their_own_weights(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    from fine_tune_assets.core.fingerprints import fingerprint_folder

    older = folders["older"]
    answers = _answers(_request(folders, incumbent=fingerprint_folder(older), incumbent_adapter=str(older)), tmp_path)
    assert len({tuple(texts) for texts in answers.values()}) == 3
    assert not list(tmp_path.iterdir())
