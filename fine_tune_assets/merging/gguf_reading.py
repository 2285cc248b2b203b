"""What a GGUF file answers to the probes, in llama.cpp.

Owns opening a file and the proofs before it is read: the chat template inside, where it stops, and the same tokens as in
training. Log-probabilities come from the library, answers from the server that serves users.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from fine_tune_assets.core.errors import FineTuneError, GateClosedError
from fine_tune_assets.engines.addresses import open_client
from fine_tune_assets.engines.gguf_model import GgufError, GgufModel, open_gguf
from fine_tune_assets.engines.llama_cpp import GgufFiles, start_llama_cpp
from fine_tune_assets.engines.running import RunningEngine, greedy_answer, stop_engine, wait_until_healthy
from fine_tune_assets.merging.parity import Reading, Reply
from fine_tune_assets.merging.probes import MAX_NEW_TOKENS, Probe, Probes

START_SECONDS, ANSWER_SECONDS = 600.0, 600.0


class ExportError(FineTuneError):
    """An export could not be made, or not be read."""


def read_gguf(files: GgufFiles, probes: Probes, system_prompt: str, chat_template: str, turn_end_id: int) -> Reading:
    """Raises GateClosedError if the file reads or renders text differently than the trainer, ExportError if it cannot be used."""
    try:
        with open_gguf(files.model, probes.longest + 8, adapter=files.adapter) as model:
            require_contract(model, chat_template, turn_end_id)
            require_same_tokens(model, probes)
            found = tuple(_log_probabilities(model, text.ids) for text in probes.texts)
    except GgufError as error:
        raise ExportError(str(error)) from None
    with (
        _served(files, probes.longest + 8) as engine,
        open_client(engine.url, engine.api_key, ANSWER_SECONDS) as client,
    ):
        return Reading(found, tuple(_reply(client, engine, probe, system_prompt) for probe in probes.frozen))


def tensor_types(file: Path) -> str:
    """How many tensors of each type a file holds, such as `q4_K 120, f32 61`."""
    from gguf import GGUFReader

    counts = Counter(tensor.tensor_type.name for tensor in GGUFReader(file).tensors)
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def require_contract(model: GgufModel, chat_template: str, turn_end_id: int) -> None:
    """The engine renders prompts with the template inside the file, and stops at its end tokens. Raises GateClosedError."""
    if model.metadata("tokenizer.chat_template") != chat_template:
        raise GateClosedError(
            "The export holds another chat template than the model was trained with. Check the base model's chat_template.jinja."
        )
    if not model.is_end(turn_end_id):
        raise GateClosedError(
            f"llama.cpp would not stop at token {turn_end_id}, with which the model learned to end its answers. Check eos_token "
            "in the base model's tokenizer_config.json."
        )


def require_same_tokens(model: GgufModel, probes: Probes) -> None:
    """Raise GateClosedError unless the file's tokenizer reads every probe as the trainer's did."""
    asked = [(text.text, text.ids) for text in probes.texts] + [(probe.prompt, probe.ids) for probe in probes.frozen]
    other = sum(ids != model.tokenize(text) for text, ids in asked)
    if other:
        raise GateClosedError(
            f"llama.cpp reads {other} of {len(asked)} probes as other tokens than the trainer did. Check that the base model's "
            "tokenizer.json is the original one."
        )


def _log_probabilities(model: GgufModel, ids: list[int]) -> Any:
    import torch

    return torch.log_softmax(torch.from_numpy(model.logits(ids)), dim=-1)


@contextmanager
def _served(files: GgufFiles, context_tokens: int) -> Iterator[RunningEngine]:
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


def _reply(client: httpx.Client, engine: RunningEngine, probe: Probe, system_prompt: str) -> Reply:
    messages = [{"role": "system", "content": system_prompt}, *probe.messages]
    answer = greedy_answer(client, engine, messages, MAX_NEW_TOKENS)
    if answer.prompt_tokens != len(probe.ids):
        raise GateClosedError(
            f"The export renders a conversation as {answer.prompt_tokens} tokens where the trainer has {len(probe.ids)}. Check "
            "the base model's chat_template.jinja."
        )
    return Reply(answer.text.strip(), answer.prompt_tokens, answer.tokens)
