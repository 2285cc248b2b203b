"""Runs the compared models through vLLM, with many conversations in parallel.

On a GPU, one server holds the base model and all adapters. On a CPU, adapters make vLLM several times slower, so each adapter is
merged and served alone, one after the other. Only weights that match their fingerprints are served, and cached answers start no
server.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.fingerprints import require_unchanged_folder
from fine_tune_assets.core.processes.worker_requests import ContestantFields
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.prompts.conversations import Message, escape_messages, find_control_tokens
from fine_tune_assets.engines.chat_client import ChatClient, ChatPrompt, NoReplyError
from fine_tune_assets.engines.nf4 import recorded_quantization
from fine_tune_assets.engines.running_server import EngineError, RunningEngine
from fine_tune_assets.engines.transformers_models import Answer, best_device, load_tokenizer, write_merged_model
from fine_tune_assets.engines.vllm import start_vllm
from fine_tune_assets.judging.evaluation.model_comparison import Contestant, Generate
from fine_tune_assets.judging.judges.judge_models import LocalServer

BASE, CANDIDATE, INCUMBENT = "base", "candidate", "incumbent"
_TEMPLATE_TOKENS = 512
"""Upper bound of the tokens that a chat template adds."""


@contextmanager
def served_contestants(request: ContestantFields, progress: Progress) -> Iterator[list[Contestant]]:
    """`build_contestants` of local_models.py with vLLM. Raises RecipeError for a QLoRA adapter."""
    incumbent = request["incumbent_adapter"]
    if request["is_quantized"] or (incumbent and recorded_quantization(Path(incumbent)) is not None):
        which = "the candidate" if request["is_quantized"] else "the production adapter"
        raise RecipeError(
            f"judge.engine: vllm can't run {which}: it was trained with QLoRA, and vLLM quantizes the base model "
            "differently. Set judge.engine: transformers."
        )
    serving = _ContestantServer(request, progress)
    try:
        yield serving.contestants()
    finally:
        serving.server.stop()


class _ContestantServer:
    def __init__(self, request: ContestantFields, progress: Progress) -> None:
        self._request, self._progress = request, progress
        self.server = LocalServer(Path(request["judge"]["run_folder"]))
        self._served = ""
        self._context = 0
        self._merges_adapters = best_device() == "cpu"

    def contestants(self) -> list[Contestant]:
        request = self._request
        on_base = {"engine": "vllm", "base": request["base_fingerprint"], "max_new_tokens": request["max_new_tokens"]}
        if self._merges_adapters:
            on_base |= {"adapters": "merged", "dtype": request["merged_dtype"]}
        found = [
            Contestant("base", request["base_fingerprint"], self._generator(BASE), on_base),
            Contestant("adapter", request["adapter_id"], self._generator(CANDIDATE), on_base),
        ]
        if request["incumbent_adapter"]:
            return [*found, Contestant("incumbent", request["incumbent"], self._generator(INCUMBENT), on_base)]
        if request["incumbent_weights"]:
            weights = {**on_base, "base": request["incumbent_weights_fingerprint"]}
            return [Contestant("incumbent", request["incumbent"], self._generator(INCUMBENT), weights), *found]
        return found

    def _generator(self, name: str) -> Generate:
        return partial(self._generate, name)

    def _generate(self, name: str, conversations: Sequence[Sequence[Message]]) -> list[Answer]:
        self._ensure_served(name, _max_prompt_tokens(conversations) + self._request["max_new_tokens"])
        client = self.server.client(name)
        try:
            with ThreadPoolExecutor(self._request["batch_size"]) as pool:
                found = []
                for answer in pool.map(partial(self._ask, client), self._plain_conversations(name, conversations)):
                    found.append(answer)
                    self._progress(len(found), len(conversations), f"answers by the {name}")
                return found
        finally:
            client.close()

    def _ask(self, client: ChatClient, conversation: Sequence[Message]) -> Answer:
        try:
            reply = client.complete(ChatPrompt(conversation, self._request["max_new_tokens"], temperature=0.0, seed=0))
        except NoReplyError as error:
            raise EngineError(f"vLLM did not answer a test example: {error}.") from None
        return Answer(reply.text.strip(), reply.is_finished)

    def _plain_conversations(self, name: str, conversations: Sequence[Sequence[Message]]) -> list[list[Message]]:
        """Escape control tokens: vLLM renders conversations itself and would parse control tokens of a report."""
        folder = self._request["incumbent_weights"] if self._is_standalone(name) else self._request["base_folder"]
        tokenizer = load_tokenizer(Path(folder))
        tokens = find_control_tokens(tokenizer.added_tokens_decoder, tokenizer.chat_template)
        return [escape_messages(conversation, tokens) for conversation in conversations]

    def _is_standalone(self, name: str) -> bool:
        """Whether it is an incumbent on another base model."""
        return name == INCUMBENT and bool(self._request["incumbent_weights"])

    def _ensure_served(self, name: str, context: int) -> None:
        """Serve base model and adapters together, unless adapters are merged or the incumbent has another base model."""
        is_standalone = self._is_standalone(name)
        wanted = name if is_standalone or self._merges_adapters else BASE
        if self._served == wanted and context <= self._context:
            return
        start = self._start_incumbent if is_standalone else self._start_base
        if self._merges_adapters and not is_standalone and name != BASE:
            start = partial(self._start_merged, name)
        self.server.start(partial(start, context))
        self._served, self._context = wanted, context

    def _start_base(self, context: int, folder: Path) -> RunningEngine:
        request = self._request
        names = [CANDIDATE, *([INCUMBENT] if request["incumbent_adapter"] else [])]
        base, adapters = self._base(), {name: self._adapter(name) for name in names}
        return self._start(base, BASE, context, folder, {} if self._merges_adapters else adapters)

    def _start_merged(self, name: str, context: int, folder: Path) -> RunningEngine:
        merged = folder / "merged"
        write_merged_model(self._base(), self._adapter(name), self._request["merged_dtype"], merged)
        return self._start(merged, name, context, folder, {})

    def _base(self) -> Path:
        base = Path(self._request["base_folder"])
        require_unchanged_folder(base, self._request["base_fingerprint"], "base model")
        return base

    def _adapter(self, name: str) -> Path:
        request = self._request
        folder, fingerprint, what = {
            CANDIDATE: (request["adapter_folder"], request["adapter_id"], "adapter"),
            INCUMBENT: (request["incumbent_adapter"], request["incumbent"], "production adapter"),
        }[name]
        adapter = Path(folder)
        require_unchanged_folder(adapter, fingerprint, what)
        return adapter

    def _start_incumbent(self, context: int, folder: Path) -> RunningEngine:
        weights = Path(self._request["incumbent_weights"])
        require_unchanged_folder(weights, self._request["incumbent_weights_fingerprint"], "merged production model")
        return self._start(weights, INCUMBENT, context, folder, {})

    def _start(self, model: Path, alias: str, context: int, folder: Path, adapters: dict[str, Path]) -> RunningEngine:
        python = Path(self._request["judge"]["vllm_python"])
        # On a CPU as in serving; on a GPU as Transformers computes, regardless of the stored precision.
        dtype = self._request["merged_dtype"] if self._merges_adapters else "bfloat16"
        return start_vllm(python, model, alias, folder, context_tokens=context, dtype=dtype, adapters=adapters)


def _max_prompt_tokens(conversations: Sequence[Sequence[Message]]) -> int:
    """Upper bound of the prompt tokens: a token has at least one byte."""
    return _TEMPLATE_TOKENS + max(sum(len(m["content"].encode()) for m in c) for c in conversations)
