"""What a GGUF file says to the probes, in llama.cpp. Loaded in the merging process only.

Owns opening a file and the proofs before it is asked: the chat template inside, where it stops, and the same tokens as in
training.
"""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import FineTuneError, GateClosedError
from fine_tune_assets.merging.parity import Reading, Reply
from fine_tune_assets.merging.probes import MAX_NEW_TOKENS, Probe, Probes


class ExportError(FineTuneError):
    """An export could not be made, or not be read."""


@contextmanager
def opened(file: Path, tokens: int) -> Iterator[Any]:
    """The model in a file, with room for so many tokens. Raises ExportError if llama.cpp can't load it."""
    from llama_cpp import Llama

    # Threads wait for each other by spinning: with as many as there are cores, and anything else at work, 160 tokens took 4.6 s
    # in place of .6 (two cores, llama-cpp-python 0.3.36).
    threads = max(1, (os.cpu_count() or 1) // 2)
    try:
        model = Llama(
            str(file), n_ctx=tokens + 8, n_threads=threads, n_threads_batch=threads, logits_all=True, verbose=False
        )
    except ValueError:
        raise ExportError(f"llama.cpp can't load {file.name}.") from None
    try:
        yield model
    finally:
        model.close()


def tensor_types(file: Path) -> str:
    """How many tensors of each type a file holds, such as `q4_K 120, f32 61`."""
    from gguf import GGUFReader

    counts = Counter(tensor.tensor_type.name for tensor in GGUFReader(file).tensors)
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def require_contract(served: Any, chat_template: str, turn_end_id: int) -> None:
    """The engine renders prompts with the template inside of the file, and ends at tokens that it takes for ends.

    `served` is an open llama.cpp model. Raises GateClosedError.
    """
    import llama_cpp

    if served.metadata.get("tokenizer.chat_template") != chat_template:
        raise GateClosedError(
            "The export holds another chat template than the model was trained with. Check the base model's chat_template.jinja."
        )
    if not llama_cpp.llama_vocab_is_eog(served._model.vocab, turn_end_id):
        raise GateClosedError(
            f"llama.cpp would not stop at token {turn_end_id}, with which the model learned to end its answers. Check eos_token "
            "in the base model's tokenizer_config.json."
        )


def require_same_tokens(served: Any, probes: Probes) -> None:
    """Raise GateClosedError unless the file's tokenizer reads every probe as the trainer's did."""
    asked = [(text.text, text.ids) for text in probes.texts] + [(probe.prompt, probe.ids) for probe in probes.frozen]
    other = sum(ids != served.tokenize(text.encode(), add_bos=False, special=True) for text, ids in asked)
    if other:
        raise GateClosedError(
            f"llama.cpp reads {other} of {len(asked)} probes as other tokens than the trainer did. Check that the base model's "
            "tokenizer.json is the original one."
        )


def read_gguf(served: Any, probes: Probes, system_prompt: str) -> Reading:
    """What an open model says, its prompts rendered by its own template. Raises GateClosedError if they have other lengths."""
    found = tuple(_log_probabilities(served, text.ids) for text in probes.texts)
    return Reading(found, tuple(_reply(served, probe, system_prompt) for probe in probes.frozen))


def _log_probabilities(served: Any, ids: list[int]) -> Any:
    import torch

    served.reset()
    served.eval(ids)
    return torch.log_softmax(torch.from_numpy(served.scores[: len(ids)].copy()), dim=-1)


def _reply(served: Any, probe: Probe, system_prompt: str) -> Reply:
    served.reset()
    answer = served.create_chat_completion(
        messages=[{"role": "system", "content": system_prompt}, *probe.messages],
        temperature=0.0,
        repeat_penalty=1.0,  # greedy is greedy: any other value lowers what was said before
        max_tokens=MAX_NEW_TOKENS,
    )
    used = answer["usage"]
    if used["prompt_tokens"] != len(probe.ids):
        raise GateClosedError(
            f"The export renders a conversation as {used['prompt_tokens']} tokens where the trainer has {len(probe.ids)}. Check "
            "the base model's chat_template.jinja."
        )
    text = answer["choices"][0]["message"]["content"] or ""
    return Reply(text.strip(), used["prompt_tokens"], used["completion_tokens"])
