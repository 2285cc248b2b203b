"""The compared models, with random weights: every answer comes from the right weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import ChangedFolderError, GateClosedError
from fine_tune_assets.core.fingerprints import fingerprint_folder
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets_tests.judging.evaluation.small_adapters import (
    CONVERSATIONS,
    as_incumbent,
    evaluation_request,
    folders,
)

__all__ = ["folders"]

pytestmark = pytest.mark.slow  # torch, transformers and PEFT take some seconds to import


def _answers(request: dict[str, Any]) -> dict[str, list[str]]:
    from fine_tune_assets.judging.evaluation.local_models import build_contestants

    return {c.role: [a.text for a in c.generate(CONVERSATIONS)] for c in build_contestants(request, ignore_progress)}


def test_each_role_answers_with_its_own_weights(folders: dict[str, Path]) -> None:
    """One model activates the adapters in turn; an answer of the wrong adapter would corrupt the verdict."""
    older = folders["older"]
    answers = _answers(evaluation_request(folders, incumbent=fingerprint_folder(older), incumbent_adapter=str(older)))
    alone = _answers(
        {**evaluation_request(folders), "adapter_folder": str(older), "adapter_id": fingerprint_folder(older)}
    )
    assert answers["incumbent"] == alone["adapter"]
    assert answers["base"] == alone["base"]
    assert len({json.dumps(texts) for texts in answers.values()}) == 3


def _as_candidate(folders: dict[str, Path], name: str, is_quantized: bool) -> dict[str, Any]:
    adapter = folders[name]
    named = {"adapter_folder": str(adapter), "adapter_id": fingerprint_folder(adapter)}
    return evaluation_request(folders, **named, is_quantized=is_quantized)


@pytest.mark.parametrize(("candidate", "incumbent"), [("adapter", "quantized"), ("quantized", "older")])
def test_an_incumbent_of_another_precision_runs_on_its_own_base_model(
    folders: dict[str, Path], candidate: str, incumbent: str
) -> None:
    """With the candidate's precision it would differ from the production model. `older` and `quantized` have equal weights, so
    that only the precision of the base model differs."""
    from fine_tune_assets.judging.evaluation.local_models import build_contestants

    is_quantized = incumbent == "quantized"
    request = {**_as_candidate(folders, candidate, not is_quantized), **as_incumbent(folders, incumbent)}
    alone = _answers(_as_candidate(folders, incumbent, is_quantized))
    assert _answers(request)["incumbent"] == alone["adapter"]
    assert (
        alone["adapter"]
        != _answers(_as_candidate(folders, "older" if is_quantized else "quantized", not is_quantized))["adapter"]
    )
    precisions = {c.role: c.generation_settings["is_quantized"] for c in build_contestants(request, ignore_progress)}
    assert precisions == {"base": not is_quantized, "adapter": not is_quantized, "incumbent": is_quantized}


@pytest.mark.parametrize(("name", "is_quantized"), [("adapter", True), ("quantized", False)])
def test_an_adapter_is_not_loaded_on_another_precision(folders: dict[str, Path], name: str, is_quantized: bool) -> None:
    """The record in the adapter folder overrides the request."""
    with pytest.raises(GateClosedError, match="Train again"):
        _answers(_as_candidate(folders, name, is_quantized))


def test_an_incumbent_on_another_base_model_uses_its_merged_weights(folders: dict[str, Path]) -> None:
    """Its adapter does not fit the new base model."""
    other = folders["other"]
    named = {"incumbent_weights": str(other), "incumbent_weights_fingerprint": fingerprint_folder(other)}
    answers = _answers(evaluation_request(folders, incumbent="adapter-on-other", **named))
    as_base = _answers(
        {**evaluation_request(folders), "base_folder": str(other), "base_fingerprint": fingerprint_folder(other)}
    )
    assert answers["incumbent"] == as_base["base"]
    assert answers["incumbent"] != answers["base"]


@pytest.mark.parametrize("changed", ["base", "adapter"])
def test_changed_weights_are_not_judged(folders: dict[str, Path], tmp_path: Path, changed: str) -> None:
    """A verdict names fingerprints and must be about exactly those weights."""
    copied = Path(shutil.copytree(folders[changed], tmp_path / changed))
    request = {**evaluation_request(folders), f"{changed}_folder": str(copied)}
    config = copied / ("config.json" if changed == "base" else "adapter_config.json")
    config.write_text(config.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(ChangedFolderError, match=copied.name):
        _answers(request)
