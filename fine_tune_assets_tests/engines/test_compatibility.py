"""Older readers load a folder written by transformers 5 as the same model."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.engines.compatibility import compatible_config, compatible_tokenizer_config, make_compatible
from fine_tune_assets_tests.engines.loader_proof import FAMILIES, TEXTS, compare, prove, write_family
from fine_tune_assets_tests.merging.adapter_factory import ANYTHING, CONVERSATIONS, SYSTEM_PROMPT, make_adapter

OLDER = "transformers==4.57.*"
PROOF = PROJECT_DIR / "fine_tune_assets_tests" / "engines" / "loader_proof.py"


def test_the_rotary_base_is_also_written_under_its_old_name() -> None:
    """Otherwise transformers 4.57 silently uses 10,000."""
    config = {"rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"}}
    assert compatible_config(config) == {**config, "rope_theta": 100000.0}


def test_scaled_rotary_embeddings_are_also_written_under_their_old_names() -> None:
    """Llama 3.1 extends its context with them."""
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}
    config = {"rope_parameters": {"rope_theta": 5e5, **scaling}}
    assert compatible_config(config) == {**config, "rope_theta": 5e5, "rope_scaling": scaling}


def test_rotary_bases_per_layer_type_are_also_written_under_their_old_names() -> None:
    """Gemma 3 has separate bases for local and global layers."""
    rope = {
        "full_attention": {"rope_theta": 1e6, "rope_type": "linear", "factor": 8.0},
        "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"},
    }
    added = compatible_config({"text_config": {"rope_parameters": rope}})["text_config"]
    assert (added["rope_theta"], added["rope_local_base_freq"]) == (1e6, 1e4)
    assert added["rope_scaling"] == {"rope_type": "linear", "factor": 8.0}


def test_a_tokenizer_gets_a_class_that_both_versions_know() -> None:
    """The loader's state is removed as well."""
    config = {"tokenizer_class": "TokenizersBackend", "backend": "tokenizers", "extra_special_tokens": ["<a>"]}
    assert compatible_tokenizer_config(config) == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "additional_special_tokens": ["<a>"],
    }


def test_a_compatible_folder_stays_unchanged_byte_for_byte(tmp_path: Path) -> None:
    """A published model keeps its fingerprint."""
    config = tmp_path / "config.json"
    config.write_text('{"rope_theta":   10000.0, "model_type": "llama"}')
    make_compatible(tmp_path)
    assert config.read_text() == '{"rope_theta":   10000.0, "model_type": "llama"}'


@pytest.fixture(scope="session")
def older_transformers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """transformers 4.57 in a separate folder, with all other packages as installed. Skips without a package index."""
    folder = tmp_path_factory.mktemp("transformers4")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), OLDER]
    installed = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    if installed.returncode:
        pytest.skip(f"{OLDER} cannot be installed (no package index?): {installed.stderr.strip()[-200:]}")
    return folder


def run_older_transformers(folder: Path, models: list[Path], out: Path) -> dict[str, Any]:
    environment = {**os.environ, **OFFLINE_ENVIRONMENT, "PYTHONPATH": str(folder)}
    command = [sys.executable, str(PROOF), str(out), *map(str, models)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(out.read_text()))


def merge_random_adapter(base: Path, folder: Path) -> Path:
    """A random adapter, merged into the base model with the product's code."""
    from fine_tune_assets.merging.merge import MergeJob, merge_adapter

    merge = MergeJob(base, make_adapter(base, folder / "adapter"), is_quantized=False, dtype="float16")
    return merge_adapter(merge, folder / "weights", CONVERSATIONS, SYSTEM_PROMPT, ANYTHING, ignore_progress).folder


@pytest.mark.slow
@pytest.mark.long  # installs transformers 4
def test_transformers_4_computes_the_same_results(smollm2: Path, older_transformers: Path, tmp_path: Path) -> None:
    """Loads an imported model, a merged model and each family that recipes support; compares token ids, the rendered prompt and
    log-probabilities."""
    families = [write_family(name, tmp_path / name, smollm2) for name in FAMILIES]
    models = [smollm2, merge_random_adapter(families[0], tmp_path / "merging"), *families]
    found = run_older_transformers(older_transformers, models, tmp_path / "older.json")
    assert found["version"].startswith("4.57")
    for model in models:
        difference = compare(prove(model), found["models"][str(model)])
        assert difference.same_tokens, model.name
        assert difference.matching_prompts, model.name
        assert difference.largest < 1e-3, (model.name, difference.largest)


@pytest.mark.slow
@pytest.mark.long  # installs transformers 4
def test_without_the_old_names_transformers_4_computes_other_results(
    older_transformers: Path, smollm2: Path, tmp_path: Path
) -> None:
    """Control for the test above: with only the new name, the same weights give other numbers."""
    model = write_family("llama", tmp_path / "llama", smollm2)
    config = json.loads((model / "config.json").read_text())
    del config["rope_theta"]
    (model / "config.json").write_text(json.dumps(config))
    found = run_older_transformers(older_transformers, [model], tmp_path / "older.json")
    assert len(TEXTS) > 1
    assert compare(prove(model), found["models"][str(model)]).largest > 1e-3
