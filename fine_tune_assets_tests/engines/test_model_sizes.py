"""Sizes of weights and KV cache from config.json, against published sizes and what a real engine allocates."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.engines.bundled_model import bundled_gguf
from fine_tune_assets.engines.gguf_header import kv_cache_bytes_per_token, read_gguf_header
from fine_tune_assets.engines.model_sizes import read_model_shape, weights_bytes
from fine_tune_assets.training.base_models.model_facts import published_shapes
from fine_tune_assets_tests.engines.llama_sizes import llama
from fine_tune_assets_tests.training.published_configs import config_folder

GIB = 2**30
_LOAD = """
import os, sys, xllamacpp
parameters = xllamacpp.CommonParams()
parameters.model.path, parameters.n_ctx, parameters.n_parallel = sys.argv[1], int(sys.argv[2]), 5
parameters.port, parameters.verbosity, parameters.fit_params, parameters.offline = 0, 5, False, True
server = xllamacpp.Server(parameters)  # kept: destroyed at once, it can wait for its own start without end
os._exit(0)
"""


@pytest.mark.parametrize(("size", "layers"), [("8b", 32), ("70b", 80)])
def test_the_kv_cache_of_a_token_has_keys_and_values_of_every_layer(tmp_path: Path, size: str, layers: int) -> None:
    """2 × layers × kv_heads × head_dim × bytes. With attention heads instead of KV heads it would be 4 or 8 times as much."""
    assert llama(tmp_path, size).kv_bytes_per_token == 2 * layers * 8 * 128 * 2


def test_llama_cpp_allocates_the_planned_kv_cache(tmp_path: Path) -> None:
    """Five contexts of 2,048 tokens, as with the default settings: 225.00 MiB in the log of the real engine."""
    gguf = bundled_gguf()
    assert gguf is not None
    run = subprocess.run(
        [sys.executable, "-c", _LOAD, str(gguf), str(5 * 2048)], check=True, capture_output=True, text=True, timeout=120
    )
    logged = re.search(r"CPU KV buffer size = +([0-9.]+) MiB", run.stdout + run.stderr)
    assert logged is not None
    folder = config_folder(tmp_path / "base", published_shapes()["SmolLM2-135M-Instruct"].config)
    planned = read_model_shape(folder, 134_515_008).kv_bytes_per_token
    assert planned == kv_cache_bytes_per_token(read_gguf_header(gguf))
    assert float(logged[1]) * 2**20 == pytest.approx(planned * 5 * 2048, abs=10_000)


@pytest.mark.parametrize(
    ("weights_format", "gib"), [("bfloat16", 14.96), ("q8_0", 7.95), ("q6_k", 6.14), ("q5_k_m", 5.33), ("q4_k_m", 4.58)]
)
def test_the_weights_of_8b_have_their_published_size(tmp_path: Path, weights_format: str, gib: float) -> None:
    """From llama.cpp's README, and for 16 bits from vLLM's log of an 80 GB card."""
    assert weights_bytes(llama(tmp_path, "8b"), weights_format) / GIB == pytest.approx(gib, abs=0.01)


def test_compressed_weights_keep_embeddings_and_output_layer_in_16_bits(tmp_path: Path) -> None:
    """They are a quarter of an 8B model in 4 bits."""
    shape = llama(tmp_path, "8b")
    ends = 2 * 128_256 * 4096
    assert weights_bytes(shape, "fp8_dynamic") == 2 * ends + (shape.parameters - ends)


def test_a_config_without_layers_or_heads_cannot_be_planned(tmp_path: Path) -> None:
    """Planning it with 0 bytes of KV cache would promise too much."""
    with pytest.raises(ModelFolderError, match="num_attention_heads"):
        read_model_shape(config_folder(tmp_path / "base", {"hidden_size": 8, "vocab_size": 8}), 1)
