"""Contestants that answer through vLLM: what is refused. The server is not in this environment; `make bench-judge` runs it."""

from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import ChangedFolderError, RecipeError
from fine_tune_assets.core.progress import silent
from fine_tune_assets_tests.judging.test_contestants import CONVERSATIONS, _request, folders

__all__ = ["folders"]
pytestmark = pytest.mark.slow


def _answers(request: dict[str, Any], run_folder: Path, engine_python: Path = Path("/none")) -> dict[str, list[str]]:
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
