"""Merging and exporting the real small model: what the adapter answered is what the merged and exported weights answer."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.fingerprints import fingerprint_file
from fine_tune_assets.core.progress import silent
from fine_tune_assets.core.prompts.prompt_contract import PromptContract, read_prompt_contract
from fine_tune_assets.engines.bundled_model import bundled_gguf
from fine_tune_assets.engines.gguf_model import open_gguf
from fine_tune_assets.engines.nf4 import QUANTIZATION, read_quantization
from fine_tune_assets.engines.transformers_models import load_tokenizer
from fine_tune_assets.merging.exports import LOCK as EXPORT_LOCK
from fine_tune_assets.merging.exports import Export, TooFarError, _near_enough, export_all
from fine_tune_assets.merging.gguf import GgufFiles, read_gguf, require_same_tokens
from fine_tune_assets.merging.merge import LOCK, SCRATCH, Merge, merge_adapter, merge_whole
from fine_tune_assets.merging.parity import parity_of, why_not
from fine_tune_assets.merging.probes import Probes, make_probes
from fine_tune_assets.merging.transformers_replies import Room, adapted, free_room, loaded, read_model
from fine_tune_assets.recipes.exports import DEFAULT_LIMITS, LORA, ParityLimits
from fine_tune_assets_tests.merging.made import ANYTHING, CONVERSATIONS, LIMITS, SYSTEM_PROMPT, make_adapter

pytestmark = pytest.mark.slow

LORA_LIMITS = DEFAULT_LIMITS[LORA]
CONTRACT = PromptContract("Be brief.", "{{ x }}", (), (2,), 2)
NO_ROOM = Room(memory=1)
NEAR = ParityLimits(maximum_kl=0.05, minimum_top1=0.8, minimum_same_greedy=0, maximum_loss_increase=0.5)
"""Of q8_0 and a random adapter, which loses more than a trained one."""


@pytest.fixture(scope="module")
def lora(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(smollm2, tmp_path_factory.mktemp("adapters") / "lora")


@pytest.fixture(scope="module")
def qlora(two_layers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(two_layers, tmp_path_factory.mktemp("adapters") / "qlora", is_quantized=True)


def _merge(base: Path, adapter: Path, weights: Path, is_quantized: bool = False, **changes: Any) -> Any:
    limits: ParityLimits = changes.pop("limits", LIMITS)
    merge = Merge(base, adapter, is_quantized, changes.pop("dtype", "float16"))
    return merge_adapter(merge, weights, CONVERSATIONS, SYSTEM_PROMPT, limits, silent, **changes)


@pytest.fixture(scope="module")
def merged(smollm2: Path, lora: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return _merge(smollm2, lora, tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def probes(smollm2: Path) -> Probes:
    return make_probes(load_tokenizer(smollm2), CONVERSATIONS, SYSTEM_PROMPT)


@pytest.fixture(scope="module")
def as_merged(merged: Any, probes: Probes) -> Any:
    """What the merged weights say."""
    with loaded(merged.folder) as model:
        return read_model(model, merged.folder, probes)


def _answers(probes: Probes) -> list[tuple[list[int], int]]:
    return [(text.ids, text.answer_from) for text in probes.texts]


def test_merged_weights_answer_as_the_adapter_did(merged: Any) -> None:
    """What was judged is the adapter; what is served is the merged model: they must be one."""
    assert merged.route == "whole"
    assert merged.parity.mean_kl < 1e-4
    assert merged.parity.same_greedy == 1.0
    assert abs(merged.parity.loss_increase) < 0.01


def test_the_adapter_is_really_in_the_merged_weights(smollm2: Path, as_merged: Any, probes: Probes) -> None:
    """A merge that dropped the adapter would agree with the base model instead: the gate sees that on every figure."""
    with loaded(smollm2) as model:
        base = read_model(model, smollm2, probes)
    assert len(why_not(parity_of(as_merged, base, _answers(probes)), LIMITS)) >= 3


def test_the_probes_file_holds_answers_and_nothing_of_a_patient(merged: Any) -> None:
    """It travels with a release, and a served endpoint is held to it."""
    content = json.loads(merged.probes_file.read_text(encoding="utf-8"))
    assert merged.probes_file.name == f"{merged.folder.name}.safetensors.probes.json"
    assert content["minimum_same_greedy"] == 0.75
    assert len(content["probes"]) == 8
    for probe in content["probes"]:
        assert [message["role"] for message in probe["messages"]] == ["user"]
        assert probe["prompt_tokens"] > 10
        assert 0 < probe["answer_tokens"] <= 32
        assert probe["answer"]
    assert not any(
        text["content"] in merged.probes_file.read_text(encoding="utf-8") for c in CONVERSATIONS for text in c[1:]
    )


def test_the_served_template_is_the_original_one(smollm2: Path, merged: Any) -> None:
    """Byte for byte: another template would ask the model what it was not trained on."""
    assert (merged.folder / "chat_template.jinja").read_bytes() == (smollm2 / "chat_template.jinja").read_bytes()


@pytest.fixture(scope="module")
def after_a_kill(two_layers: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A merge where one that was killed had written its weights."""
    root = tmp_path_factory.mktemp("killed")
    (root / "weights" / SCRATCH).mkdir(parents=True)
    (root / "weights" / SCRATCH / "model-00002-of-00002.safetensors").write_bytes(b"half of it")
    return _merge(two_layers, make_adapter(two_layers, root / "lora"), root / "weights", limits=ANYTHING)


def test_what_a_killed_merge_left_is_in_no_merged_model(after_a_kill: Any) -> None:
    """Files of another adapter would get into this one's fingerprint, and on to users."""
    assert "model-00002-of-00002.safetensors" not in {path.name for path in after_a_kill.folder.iterdir()}
    assert not (after_a_kill.folder.parent / SCRATCH).exists()


def test_the_generation_config_is_the_base_models(two_layers: Path, after_a_kill: Any) -> None:
    """It names where an answer ends: without one of the tokens an answer goes on into the next turn."""
    name = "generation_config.json"
    assert (after_a_kill.folder / name).read_bytes() == (two_layers / name).read_bytes()


def test_a_merge_that_changes_the_model_is_refused_and_leaves_nothing(two_layers: Path, tmp_path: Path) -> None:
    """The gate itself, with a limit that no merge can meet."""
    lora = make_adapter(two_layers, tmp_path / "lora")
    with pytest.raises(GateClosedError, match="Merging changed the model"):
        _merge(two_layers, lora, tmp_path / "weights", dtype="bfloat16", limits=replace(LIMITS, maximum_kl=0.0))
    assert [path.name for path in (tmp_path / "weights").iterdir()] == [LOCK]


def test_weights_that_overflow_are_refused(two_layers: Path, tmp_path: Path) -> None:
    """Above 65,504 a float16 is infinite, the answers are not numbers, and their divergence is above no limit."""
    adapter = make_adapter(two_layers, tmp_path / "huge", scale=1e7)
    with pytest.raises(GateClosedError, match="Merging changed the model: mean KL nan"):
        _merge(two_layers, adapter, tmp_path / "weights")
    assert [path.name for path in (tmp_path / "weights").iterdir()] == [LOCK]


def test_a_qlora_adapter_is_merged_into_the_dequantised_base_also_where_memory_is_short(
    two_layers: Path, qlora: Path, tmp_path: Path
) -> None:
    """It was trained on NF4 weights. Here tensor by tensor, and compared layer by layer from the files."""
    # The adapter computes in bfloat16 and is a random one: of what it repeats without end, two words are almost as likely.
    limits = replace(LIMITS, minimum_top1=0.9, minimum_same_greedy=0.5)
    done = _merge(two_layers, qlora, tmp_path / "weights", is_quantized=True, room=NO_ROOM, limits=limits)
    assert done.route == "by_tensor"
    assert done.parity.mean_kl < LIMITS.maximum_kl
    config = json.loads((done.folder / "config.json").read_text(encoding="utf-8"))
    assert "quantization_config" not in config


def test_a_qlora_adapter_that_is_merged_into_the_unquantised_base_does_not_pass(
    two_layers: Path, qlora: Path, probes: Probes, tmp_path: Path
) -> None:
    """The usual recipe elsewhere: the merged model answers otherwise than what was judged."""
    with adapted(two_layers, qlora, True, free_room()) as model:
        trained = read_model(model, two_layers, probes)
    merge_whole(two_layers, qlora, None, "float16", tmp_path / "wrecked")
    with loaded(tmp_path / "wrecked") as model:
        wrecked = read_model(model, two_layers, probes)
    faults = why_not(parity_of(trained, wrecked, _answers(probes)), LIMITS)
    assert any("mean KL" in fault for fault in faults)


def test_a_qlora_adapter_without_the_record_of_its_base_is_not_merged(qlora: Path, lora: Path, tmp_path: Path) -> None:
    """Or with that of another quantisation, or with one although it is said to be of LoRA."""
    found = read_quantization(qlora, True)
    assert found is not None
    assert (found.quant_type, found.double_quant, found.block_size, found.double_block_size) == ("nf4", True, 64, 256)
    assert (found.compute_dtype, found.loaded_as, len(found.modules)) == ("bfloat16", "float32", 14)
    assert "lm_head" not in found.modules
    with pytest.raises(GateClosedError, match="does not say how its base model was quantised"):
        read_quantization(lora, True)
    with pytest.raises(GateClosedError, match="its record names another method"):
        read_quantization(qlora, False)
    record = json.loads((qlora / QUANTIZATION).read_text(encoding="utf-8"))
    for name, value in {"quant_type": "fp4", "block_size": 128, "double_quant": False, "compute_dtype": "float16",
                        "loaded_as": "int8", "modules": []}.items():  # fmt: skip
        (tmp_path / QUANTIZATION).write_text(json.dumps({**record, name: value}), encoding="utf-8")
        with pytest.raises(GateClosedError, match=name):
            read_quantization(tmp_path, True)
    (tmp_path / QUANTIZATION).write_text("{}", encoding="utf-8")
    with pytest.raises(GateClosedError, match="can't be read"):
        read_quantization(tmp_path, True)


def _export(folder: Path, exports_dir: Path, adapter: Path) -> Export:
    turn_end = read_prompt_contract(folder, SYSTEM_PROMPT).turn_end_id
    base = fingerprint_file(bundled_gguf() or folder)
    return Export(folder, exports_dir, SYSTEM_PROMPT, turn_end, Path("no-such-python"), adapter, base)


def _read(file: Path, merged: Path, probes: Probes, system_prompt: str = SYSTEM_PROMPT) -> Any:
    contract = read_prompt_contract(merged, SYSTEM_PROMPT)
    return read_gguf(GgufFiles(file), probes, system_prompt, contract.chat_template, contract.turn_end_id)


@pytest.fixture(scope="module")
def exports(merged: Any, lora: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Five formats, of which one has a limit that it can't meet and one an environment that is not there."""
    limits = {
        "q8_0": NEAR,
        "f16": replace(ANYTHING, maximum_kl=0.0),
        "fp8_dynamic": ANYTHING,
        "q4_k_m": ANYTHING,
        "lora_f16": NEAR,
    }
    folder = tmp_path_factory.mktemp("exports")
    return folder, export_all(_export(merged.folder, folder, lora), limits, CONVERSATIONS, silent)


def test_exports_stay_close_and_one_that_fails_stops_itself_alone(exports: Any) -> None:
    """Formats behind it are still made; nothing of the failed one is kept, and it says what to do."""
    folder, (q8, f16, fp8, q4, alone) = exports
    assert (q8.why, q4.why, alone.why) == ("", "", "")
    assert 0 < q8.parity.mean_kl < q4.parity.mean_kl
    assert q8.file.stat().st_size == q8.size_bytes > q4.size_bytes
    assert (f16.file, f16.probes_file) == (None, None)
    assert f16.parity.mean_kl > 0
    assert "differs too much" in f16.why
    assert "Choose a finer format" in f16.why
    assert "make setup-llmcompressor" in fp8.why
    kept = {one for export in (q8, q4, alone) for one in (export.file, export.probes_file)} | {folder / EXPORT_LOCK}
    assert set(folder.iterdir()) == kept


def test_an_adapter_alone_is_small_and_answers_as_the_merged_weights(exports: Any) -> None:
    """It is what a release of a few megabytes holds; the base GGUF stays as it was installed."""
    alone = exports[1][4]
    assert alone.size_bytes < 15_000_000
    assert alone.parity.mean_kl < 0.05


def test_an_adapter_on_another_base_does_not_pass(merged: Any, lora: Path, tmp_path: Path) -> None:
    """The base model was not made from an installed GGUF: nothing could serve the adapter."""
    export = replace(_export(merged.folder, tmp_path, lora), base_gguf="0" * 64)
    (failed,) = export_all(export, {"lora_f16": NEAR}, CONVERSATIONS, silent)
    assert failed.file is None
    assert "not installed" in failed.why


def test_an_adapter_that_is_left_out_is_seen(as_merged: Any, merged: Any, probes: Probes) -> None:
    """Served without its adapter, the base model answers, and the figures say that it is not what was merged."""
    base = bundled_gguf()
    assert base is not None
    with pytest.raises(TooFarError):
        _near_enough("lora_f16", as_merged, _read(base, merged.folder, probes), probes, LORA_LIMITS)


def test_rows_that_are_no_multiple_of_256_are_kept_in_another_type(exports: Any) -> None:
    """llama.cpp decides so without a word: SmolLM2-135M has rows of 576 and 1,536."""
    q4 = exports[1][3]
    assert "Q5_0" in q4.tensor_types
    assert "Q4_K" in q4.tensor_types


def test_what_a_file_itself_answered_is_what_its_server_must_answer(exports: Any, merged: Any) -> None:
    """Each form has its own answers: those of a coarser one may differ."""
    first = exports[1][0]
    ours, theirs = (
        json.loads(path.read_text(encoding="utf-8"))["probes"] for path in (first.probes_file, merged.probes_file)
    )
    assert [(p["messages"], p["prompt_tokens"]) for p in ours] == [(p["messages"], p["prompt_tokens"]) for p in theirs]
    assert first.probes_file.name == f"{merged.folder.name}.q8_0.probes.json"


def test_a_wrecked_file_does_not_pass(
    exports: Any, merged: Any, as_merged: Any, probes: Probes, tmp_path: Path
) -> None:
    """A part of its weights is gone, and llama.cpp loads it without a complaint."""
    wrecked = tmp_path / "wrecked.gguf"
    shutil.copy(exports[1][0].file, wrecked)
    with wrecked.open("r+b") as file:
        file.seek(wrecked.stat().st_size - 20_000_000)
        file.write(bytes(2_000_000))
    reading = _read(wrecked, merged.folder, probes)
    with pytest.raises(TooFarError, match="mean KL"):
        _near_enough("q8_0", as_merged, reading, probes, NEAR)


def test_a_file_with_another_tokenizer_does_not_pass(exports: Any, smollm2: Path, tmp_path: Path) -> None:
    """Same weights, other tokens: every answer is to another question."""
    shutil.copytree(smollm2, tmp_path / "other")
    tokenizer = json.loads((tmp_path / "other" / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:2000]
    (tmp_path / "other" / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    other = make_probes(load_tokenizer(tmp_path / "other"), CONVERSATIONS, SYSTEM_PROMPT)
    with open_gguf(exports[1][0].file) as served, pytest.raises(GateClosedError, match="as other tokens"):
        require_same_tokens(served, other)


def test_a_template_that_renders_otherwise_in_the_engine_does_not_pass(
    exports: Any, merged: Any, probes: Probes
) -> None:
    """The file's template is rendered by llama.cpp's own code: it must give the same prompt."""
    with pytest.raises(GateClosedError, match="renders a conversation as"):
        _read(exports[1][0].file, merged.folder, probes, system_prompt="Be brief. And kind.")
