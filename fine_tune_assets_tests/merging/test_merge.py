"""Merging and exporting the real small model: merged and exported weights must answer like the adapter."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_folder
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.core.prompts.prompt_contract import PromptContract, read_prompt_contract
from fine_tune_assets.engines.bundled_model import bundled_gguf
from fine_tune_assets.engines.gguf_model import open_gguf
from fine_tune_assets.engines.nf4 import QUANTIZATION_FILE, read_quantization
from fine_tune_assets.engines.shared_vllm import ADAPTER_FILES
from fine_tune_assets.engines.transformers_models import load_tokenizer
from fine_tune_assets.merging.exports import LOCK as EXPORT_LOCK
from fine_tune_assets.merging.exports import ExportJob, ParityError, _measure_parity, export_all
from fine_tune_assets.merging.gguf import ExportError, GgufFiles, probe_gguf, require_same_tokens
from fine_tune_assets.merging.merge import LOCK, SCRATCH, MergeJob, merge_adapter, merge_in_memory
from fine_tune_assets.merging.parity import exceeded_limits, measure_parity
from fine_tune_assets.merging.probes import Probes, make_probes
from fine_tune_assets.merging.served_adapter import write_served_adapter
from fine_tune_assets.merging.transformers_probes import (
    MemoryBudget,
    measure_budget,
    open_adapted_model,
    open_model,
    probe_model,
)
from fine_tune_assets.recipes.export_settings import DEFAULT_LIMITS, LORA, ParityLimits
from fine_tune_assets_tests.merging.adapter_factory import ANYTHING, CONVERSATIONS, LIMITS, SYSTEM_PROMPT, make_adapter

pytestmark = pytest.mark.slow

LORA_LIMITS = DEFAULT_LIMITS[LORA]
CONTRACT = PromptContract("Be brief.", "{{ x }}", (), (2,), 2)
NO_ROOM = MemoryBudget(ram_bytes=1)
NEAR = ParityLimits(maximum_kl=0.05, minimum_top1=0.8, minimum_greedy_agreement=0, maximum_loss_increase=0.5)
"""For q8_0 of a random adapter, which loses more than a trained one."""


@pytest.fixture(scope="module")
def lora(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(smollm2, tmp_path_factory.mktemp("adapters") / "lora")


@pytest.fixture(scope="module")
def qlora(two_layers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(two_layers, tmp_path_factory.mktemp("adapters") / "qlora", is_quantized=True)


def _merge(base: Path, adapter: Path, weights: Path, is_quantized: bool = False, **changes: Any) -> Any:
    limits: ParityLimits = changes.pop("limits", LIMITS)
    merge = MergeJob(base, adapter, is_quantized, changes.pop("dtype", "float16"))
    return merge_adapter(merge, weights, CONVERSATIONS, SYSTEM_PROMPT, limits, ignore_progress, **changes)


@pytest.fixture(scope="module")
def merged(smollm2: Path, lora: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return _merge(smollm2, lora, tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def probes(smollm2: Path) -> Probes:
    return make_probes(load_tokenizer(smollm2), CONVERSATIONS, SYSTEM_PROMPT)


@pytest.fixture(scope="module")
def as_merged(merged: Any, probes: Probes) -> Any:
    """The merged weights' probe outputs."""
    with open_model(merged.folder) as model:
        return probe_model(model, merged.folder, probes)


def _answers(probes: Probes) -> list[tuple[list[int], int]]:
    return [(text.ids, text.answer_start) for text in probes.texts]


def test_merged_weights_match_the_adapter(merged: Any) -> None:
    """The adapter is judged but the merged model is served, so they must be equivalent."""
    assert merged.method == "in_memory"
    assert merged.parity.mean_kl < 1e-4
    assert merged.parity.greedy_agreement == 1.0
    assert abs(merged.parity.loss_increase) < 0.01


def test_merged_weights_differ_from_the_base_model(smollm2: Path, as_merged: Any, probes: Probes) -> None:
    """A merge that dropped the adapter would match the base model; every metric of the gate would reveal it."""
    with open_model(smollm2) as model:
        base = probe_model(model, smollm2, probes)
    assert len(exceeded_limits(measure_parity(as_merged, base, _answers(probes)), LIMITS)) >= 3


def test_the_probes_file_contains_answers_and_no_subject_data(merged: Any) -> None:
    """It travels with the release, and the served endpoint must reproduce it."""
    content = json.loads(merged.probes_file.read_text(encoding="utf-8"))
    assert merged.probes_file.name == f"{merged.folder.name}.safetensors.probes.json"
    assert content["minimum_greedy_agreement"] == 0.75
    assert len(content["probes"]) == 8
    for probe in content["probes"]:
        assert [message["role"] for message in probe["messages"]] == ["user"]
        assert probe["prompt_tokens"] > 10
        assert 0 < probe["answer_tokens"] <= 32
        assert probe["answer"]
    assert not any(
        text["content"] in merged.probes_file.read_text(encoding="utf-8") for c in CONVERSATIONS for text in c[1:]
    )


def test_the_served_template_is_the_original(smollm2: Path, merged: Any) -> None:
    """Byte for byte: another template would send prompts that the model was not trained on."""
    assert (merged.folder / "chat_template.jinja").read_bytes() == (smollm2 / "chat_template.jinja").read_bytes()


@pytest.fixture(scope="module")
def after_a_kill(two_layers: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A merge into a folder in which a killed merge had written weights."""
    root = tmp_path_factory.mktemp("killed")
    (root / "weights" / SCRATCH).mkdir(parents=True)
    (root / "weights" / SCRATCH / "model-00002-of-00002.safetensors").write_bytes(b"half of it")
    return _merge(two_layers, make_adapter(two_layers, root / "lora"), root / "weights", limits=ANYTHING)


def test_leftovers_of_a_killed_merge_are_not_in_the_merged_model(after_a_kill: Any) -> None:
    """Another adapter's files would enter this one's fingerprint and be served."""
    assert "model-00002-of-00002.safetensors" not in {path.name for path in after_a_kill.folder.iterdir()}
    assert not (after_a_kill.folder.parent / SCRATCH).exists()


def test_the_generation_config_is_copied_from_the_base_model(two_layers: Path, after_a_kill: Any) -> None:
    """It names the stop tokens; without one of them, an answer would continue into the next turn."""
    name = "generation_config.json"
    assert (after_a_kill.folder / name).read_bytes() == (two_layers / name).read_bytes()


def test_a_merge_that_changes_the_model_is_rejected_and_leaves_nothing(two_layers: Path, tmp_path: Path) -> None:
    """The gate, with a limit that no merge can meet."""
    lora = make_adapter(two_layers, tmp_path / "lora")
    with pytest.raises(GateClosedError, match="merged_dtype"):
        _merge(two_layers, lora, tmp_path / "weights", dtype="bfloat16", limits=replace(LIMITS, maximum_kl=0.0))
    assert [path.name for path in (tmp_path / "weights").iterdir()] == [LOCK]


def test_weights_that_overflow_are_rejected(two_layers: Path, tmp_path: Path) -> None:
    """Above 65,504 a float16 is infinite, so outputs are NaN and their divergence exceeds no limit."""
    adapter = make_adapter(two_layers, tmp_path / "huge", scale=1e7)
    with pytest.raises(GateClosedError, match="KL nan"):
        _merge(two_layers, adapter, tmp_path / "weights")
    assert [path.name for path in (tmp_path / "weights").iterdir()] == [LOCK]


def test_qlora_merges_into_the_dequantized_base_also_with_little_memory(
    two_layers: Path, qlora: Path, tmp_path: Path
) -> None:
    """It was trained on NF4 weights. Here the merge runs tensor by tensor and is compared layer by layer from files."""
    # A random adapter in bfloat16 repeats itself endlessly, with two nearly equally likely words.
    limits = replace(LIMITS, minimum_top1=0.9, minimum_greedy_agreement=0.5)
    done = _merge(two_layers, qlora, tmp_path / "weights", is_quantized=True, budget=NO_ROOM, limits=limits)
    assert done.method == "streaming"
    assert done.parity.mean_kl < LIMITS.maximum_kl
    config = json.loads((done.folder / "config.json").read_text(encoding="utf-8"))
    assert "quantization_config" not in config


def test_qlora_merged_into_the_unquantized_base_does_not_pass(
    two_layers: Path, qlora: Path, probes: Probes, tmp_path: Path
) -> None:
    """Elsewhere this is the usual recipe, but the merged model answers differently than the judged one."""
    with open_adapted_model(two_layers, qlora, True, measure_budget()) as model:
        trained = probe_model(model, two_layers, probes)
    merge_in_memory(two_layers, qlora, None, "float16", tmp_path / "wrecked")
    with open_model(tmp_path / "wrecked") as model:
        wrecked = probe_model(model, two_layers, probes)
    exceeded = exceeded_limits(measure_parity(trained, wrecked, _answers(probes)), LIMITS)
    assert any("mean KL" in limit for limit in exceeded)


def test_qlora_without_a_valid_quantization_record_is_not_merged(qlora: Path, lora: Path, tmp_path: Path) -> None:
    """Covers a missing record, a record of another quantization, and a record although the method is LoRA."""
    nf4 = read_quantization(qlora, True)
    assert nf4 is not None
    assert (nf4.quant_type, nf4.double_quant, nf4.block_size, nf4.double_block_size) == ("nf4", True, 64, 256)
    assert (nf4.compute_dtype, nf4.original_dtype, len(nf4.modules)) == (
        "bfloat16",
        "float32",
        14,
    )
    assert "lm_head" not in nf4.modules
    with pytest.raises(GateClosedError, match=f"{lora.name} .*qlora"):
        read_quantization(lora, True)
    with pytest.raises(GateClosedError, match=qlora.name):
        read_quantization(qlora, False)
    record = json.loads((qlora / QUANTIZATION_FILE).read_text(encoding="utf-8"))
    for name, value in {"quant_type": "fp4", "block_size": 128, "double_quant": False, "compute_dtype": "float16",
                        "original_dtype": "int8", "modules": []}.items():  # fmt: skip
        (tmp_path / QUANTIZATION_FILE).write_text(json.dumps({**record, name: value}), encoding="utf-8")
        with pytest.raises(GateClosedError, match=name):
            read_quantization(tmp_path, True)
    (tmp_path / QUANTIZATION_FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(GateClosedError, match=QUANTIZATION_FILE):
        read_quantization(tmp_path, True)


def _export(folder: Path, exports_dir: Path, adapter: Path, base: Path) -> ExportJob:
    turn_end = read_prompt_contract(folder, SYSTEM_PROMPT).turn_end_id
    base_gguf = fingerprint_file(bundled_gguf() or folder)
    return ExportJob(folder, exports_dir, SYSTEM_PROMPT, turn_end, Path("no-such-python"), adapter, base, base_gguf)


def _read(file: Path, merged: Path, probes: Probes, system_prompt: str = SYSTEM_PROMPT) -> Any:
    contract = read_prompt_contract(merged, SYSTEM_PROMPT)
    return probe_gguf(GgufFiles(file), probes, system_prompt, contract.chat_template, contract.turn_end_id)


@pytest.fixture(scope="module")
def exports(merged: Any, lora: Path, smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Six formats: one has a limit that it can't meet, and one an environment that does not exist."""
    limits = {
        "q8_0": NEAR,
        "f16": replace(ANYTHING, maximum_kl=0.0),
        "fp8_dynamic": ANYTHING,
        "q4_k_m": ANYTHING,
        "lora_f16": NEAR,
        "lora_safetensors": LIMITS,
    }
    folder = tmp_path_factory.mktemp("exports")
    return folder, export_all(_export(merged.folder, folder, lora, smollm2), limits, CONVERSATIONS, ignore_progress)


def test_exports_stay_close_and_a_failed_one_does_not_affect_the_others(exports: Any) -> None:
    """Later formats are still made; nothing of the failed one is kept, and its reason names the remedy."""
    folder, (q8, f16, fp8, q4, alone, served) = exports
    assert (q8.reason, q4.reason, alone.reason, served.reason) == ("", "", "", "")
    assert 0 < q8.parity.mean_kl < q4.parity.mean_kl
    assert q8.file.stat().st_size == q8.size_bytes > q4.size_bytes
    assert (f16.file, f16.probes_file) == (None, None)
    assert "gate.export_limits" in f16.reason
    assert "Choose a finer format" in f16.reason
    assert "make setup-llmcompressor" in fp8.reason
    kept = {one for export in (q8, q4, alone, served) for one in (export.file, export.probes_file)} | {
        folder / EXPORT_LOCK
    }
    assert set(folder.iterdir()) == kept


def test_an_adapter_export_is_small_and_matches_the_merged_weights(exports: Any) -> None:
    """It makes releases of a few megabytes possible; the base GGUF stays as installed."""
    alone = exports[1][4]
    assert alone.size_bytes < 15_000_000
    assert alone.parity.mean_kl < 0.05


def test_an_adapter_for_vllm_has_the_merged_tokenizer_and_no_path_of_this_machine(exports: Any, merged: Any) -> None:
    """vLLM serves the base model with them, so that the prompt is the one that was judged."""
    served = exports[1][5]
    assert served.size_bytes < 30_000_000
    assert served.fingerprint == fingerprint_folder(served.file)
    same = {path.name for path in merged.folder.iterdir() if ".safetensors" not in path.suffixes}
    assert {path.name for path in served.file.iterdir()} == same | set(ADAPTER_FILES)
    for name in same:
        assert (served.file / name).read_bytes() == (merged.folder / name).read_bytes()
    assert json.loads((served.file / "adapter_config.json").read_text())["base_model_name_or_path"] == ""


def test_a_dora_adapter_is_not_exported_for_vllm(merged: Any, two_layers: Path, tmp_path: Path) -> None:
    """vLLM would ignore its magnitudes."""
    dora = make_adapter(two_layers, tmp_path / "dora", use_dora=True)
    with pytest.raises(ExportError):
        write_served_adapter(dora, merged.folder, tmp_path)


def test_an_adapter_export_without_its_base_gguf_fails(merged: Any, lora: Path, smollm2: Path, tmp_path: Path) -> None:
    """The base model was not converted from an installed GGUF, so nothing could serve the adapter."""
    export = replace(_export(merged.folder, tmp_path, lora, smollm2), base_gguf="0" * 64)
    (failed,) = export_all(export, {"lora_f16": NEAR}, CONVERSATIONS, ignore_progress)
    assert failed.file is None
    assert "lora_f16" in failed.reason


def test_a_missing_adapter_is_detected(as_merged: Any, merged: Any, probes: Probes) -> None:
    """Without its adapter the base model answers, which the metrics must reveal."""
    base = bundled_gguf()
    assert base is not None
    with pytest.raises(ParityError):
        _measure_parity("lora_f16", as_merged, _read(base, merged.folder, probes), probes, LORA_LIMITS)


def test_rows_not_a_multiple_of_256_are_stored_in_another_type(exports: Any) -> None:
    """llama.cpp does this silently: SmolLM2-135M has rows of 576 and 1,536."""
    q4 = exports[1][3]
    assert "Q5_0" in q4.tensor_types
    assert "Q4_K" in q4.tensor_types


def test_each_export_stores_its_own_probe_answers(exports: Any, merged: Any) -> None:
    """A coarser format may answer differently, and its server must reproduce exactly its answers."""
    first = exports[1][0]
    ours, theirs = (
        json.loads(path.read_text(encoding="utf-8"))["probes"] for path in (first.probes_file, merged.probes_file)
    )
    assert [(p["messages"], p["prompt_tokens"]) for p in ours] == [(p["messages"], p["prompt_tokens"]) for p in theirs]
    assert first.probes_file.name == f"{merged.folder.name}.q8_0.probes.json"


def test_a_corrupt_file_does_not_pass(
    exports: Any, merged: Any, as_merged: Any, probes: Probes, tmp_path: Path
) -> None:
    """Part of its weights is missing, and llama.cpp loads it without an error."""
    wrecked = tmp_path / "wrecked.gguf"
    shutil.copy(exports[1][0].file, wrecked)
    with wrecked.open("r+b") as file:
        file.seek(wrecked.stat().st_size - 20_000_000)
        file.write(bytes(2_000_000))
    reading = _read(wrecked, merged.folder, probes)
    with pytest.raises(ParityError, match="KL"):
        _measure_parity("q8_0", as_merged, reading, probes, NEAR)


def test_a_file_with_another_tokenizer_does_not_pass(exports: Any, smollm2: Path, tmp_path: Path) -> None:
    """With the same weights but other tokens, every answer is to another question."""
    shutil.copytree(smollm2, tmp_path / "other")
    tokenizer = json.loads((tmp_path / "other" / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:2000]
    (tmp_path / "other" / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    other = make_probes(load_tokenizer(tmp_path / "other"), CONVERSATIONS, SYSTEM_PROMPT)
    with open_gguf(exports[1][0].file) as served, pytest.raises(GateClosedError, match=r"tokenizer\.json"):
        require_same_tokens(served, other)


def test_a_template_that_the_engine_renders_differently_does_not_pass(
    exports: Any, merged: Any, probes: Probes
) -> None:
    """llama.cpp renders the file's template with its own code, which must give the same prompt."""
    with pytest.raises(GateClosedError, match=r"chat_template\.jinja"):
        _read(exports[1][0].file, merged.folder, probes, system_prompt="Be brief. And kind.")
