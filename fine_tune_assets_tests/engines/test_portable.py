"""A folder that transformers 5 wrote is read by older readers as the same model."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT
from fine_tune_assets.core.progress import silent
from fine_tune_assets.engines.portable import make_portable, portable_config, portable_tokenizer_config
from fine_tune_assets_tests.engines.loader_proof import FAMILIES, TEXTS, compare, prove, write_family
from fine_tune_assets_tests.merging.made import ANYTHING, CONVERSATIONS, SYSTEM_PROMPT, make_adapter

OLDER = "transformers==4.57.*"
PROOF = PROJECT_DIR / "fine_tune_assets_tests" / "engines" / "loader_proof.py"


def test_the_rotary_base_is_written_under_its_old_name_too() -> None:
    """transformers 4.57 takes 10,000 otherwise, and says nothing."""
    config = {"rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"}}
    assert portable_config(config) == {**config, "rope_theta": 100000.0}


def test_scaled_rotary_embeddings_are_written_under_their_old_names_too() -> None:
    """Llama 3.1 stretches its context with them."""
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}
    config = {"rope_parameters": {"rope_theta": 5e5, **scaling}}
    assert portable_config(config) == {**config, "rope_theta": 5e5, "rope_scaling": scaling}


def test_rotary_bases_by_kind_of_layer_are_written_under_their_old_names_too() -> None:
    """Gemma 3 has one for its local layers, and one for the others."""
    rope = {
        "full_attention": {"rope_theta": 1e6, "rope_type": "linear", "factor": 8.0},
        "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"},
    }
    added = portable_config({"text_config": {"rope_parameters": rope}})["text_config"]
    assert (added["rope_theta"], added["rope_local_base_freq"]) == (1e6, 1e4)
    assert added["rope_scaling"] == {"rope_type": "linear", "factor": 8.0}


def test_a_tokenizer_gets_a_class_that_both_know() -> None:
    """And loses what tells how it happened to be loaded."""
    config = {"tokenizer_class": "TokenizersBackend", "backend": "tokenizers", "extra_special_tokens": ["<a>"]}
    assert portable_tokenizer_config(config) == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "additional_special_tokens": ["<a>"],
    }


def test_a_folder_that_has_it_already_stays_byte_for_byte(tmp_path: Path) -> None:
    """The fingerprint of a model that others published stays what they published."""
    config = tmp_path / "config.json"
    config.write_text('{"rope_theta":   10000.0, "model_type": "llama"}')
    make_portable(tmp_path)
    assert config.read_text() == '{"rope_theta":   10000.0, "model_type": "llama"}'


@pytest.fixture(scope="session")
def older_transformers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """transformers 4.57 in a folder of its own; everything else is what is installed. Skips without a package index."""
    folder = tmp_path_factory.mktemp("transformers4")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), OLDER]
    installed = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    if installed.returncode:
        pytest.skip(f"{OLDER} can't be installed here (no package index?): {installed.stderr.strip()[-200:]}")
    return folder


def older(folder: Path, models: list[Path], out: Path) -> dict[str, Any]:
    environment = {**os.environ, **OFFLINE_ENVIRONMENT, "PYTHONPATH": str(folder)}
    command = [sys.executable, str(PROOF), str(out), *map(str, models)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(out.read_text()))


def merged(base: Path, place: Path) -> Path:
    """A random adapter on the base model, merged as every adapter is."""
    from fine_tune_assets.merging.merge import Merge, merge_adapter

    merge = Merge(base, make_adapter(base, place / "adapter"), is_quantized=False, dtype="float16")
    return merge_adapter(merge, place / "weights", CONVERSATIONS, SYSTEM_PROMPT, ANYTHING, silent).folder


@pytest.mark.slow
def test_transformers_4_computes_the_same_with_what_is_written_here(
    smollm2: Path, older_transformers: Path, tmp_path: Path
) -> None:
    """By loading it: an imported model, a merged one, and each family that recipes are made for. Token ids, the rendered
    prompt, and the log-probabilities."""
    families = [write_family(name, tmp_path / name, smollm2) for name in FAMILIES]
    models = [smollm2, merged(families[0], tmp_path / "merging"), *families]
    found = older(older_transformers, models, tmp_path / "older.json")
    assert found["version"].startswith("4.57")
    for model in models:
        difference = compare(prove(model), found["models"][str(model)])
        assert difference.same_tokens, model.name
        assert difference.same_prompt, model.name
        assert difference.largest < 1e-3, (model.name, difference.largest)


@pytest.mark.slow
def test_without_the_old_names_transformers_4_computes_something_else(
    older_transformers: Path, smollm2: Path, tmp_path: Path
) -> None:
    """The proof above must be able to fail: the same weights with the new name only give other numbers."""
    model = write_family("llama", tmp_path / "llama", smollm2)
    config = json.loads((model / "config.json").read_text())
    del config["rope_theta"]
    (model / "config.json").write_text(json.dumps(config))
    found = older(older_transformers, [model], tmp_path / "older.json")
    assert len(TEXTS) > 1
    assert compare(prove(model), found["models"][str(model)]).largest > 1e-3
