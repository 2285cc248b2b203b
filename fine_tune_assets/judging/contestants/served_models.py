"""The models that are compared, answering through vLLM: many conversations at once.

On a GPU the base model wears each adapter by name. On a CPU that makes vLLM several times slower: there an adapter is merged, and
each model served by itself, one after the other. Owns serving them and asking. Nothing is served that is not what its fingerprint
says, and nothing is started for answers that are kept.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.fingerprints import require_folder
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.prompts.chat import Message, control_tokens, plain_messages
from fine_tune_assets.engines.chat_client import ChatClient, NoReplyError, Question
from fine_tune_assets.engines.nf4 import learned_on
from fine_tune_assets.engines.running_server import EngineError, RunningEngine
from fine_tune_assets.engines.transformers_models import Answer, best_device, load_tokenizer, write_merged
from fine_tune_assets.engines.vllm import start_vllm
from fine_tune_assets.judging.contestants.comparison import Contestant, Generate
from fine_tune_assets.judging.judges.judge_models import OwnServer

BASE, CANDIDATE, INCUMBENT = "base", "candidate", "incumbent"
_TEMPLATE_TOKENS = 512
"""What a chat template adds to a conversation, at most."""


@contextmanager
def served_contestants(request: dict[str, Any], progress: Progress) -> Iterator[list[Contestant]]:
    """As `contestants_of` of local_models.py. Raises RecipeError for an adapter on a base in 4 bits."""
    incumbent = request["incumbent_adapter"]
    if request["is_quantized"] or (incumbent and learned_on(Path(incumbent)) is not None):
        which = "an adapter" if request["is_quantized"] else "the adapter that serves now, one"
        raise RecipeError(
            f"judge.engine: vllm can't answer for {which} that was trained with QLoRA: it rounds the base model to other 4 "
            "bits. Set judge.engine: transformers."
        )
    serving = _Serving(request, progress)
    try:
        yield serving.contestants()
    finally:
        serving.server.stop()


class _Serving:
    def __init__(self, request: dict[str, Any], progress: Progress) -> None:
        self._request, self._progress = request, progress
        self.server = OwnServer(Path(request["judge"]["run_folder"]))
        self._served = ""
        self._context = 0
        self._is_merging = best_device() == "cpu"

    def contestants(self) -> list[Contestant]:
        request = self._request
        on_base = {"engine": "vllm", "base": request["base_fingerprint"], "max_new_tokens": request["max_new_tokens"]}
        if self._is_merging:
            on_base |= {"adapters": "merged", "dtype": request["merged_dtype"]}
        found = [
            Contestant("base", request["base_fingerprint"], self._answering(BASE), on_base),
            Contestant("adapter", request["adapter_id"], self._answering(CANDIDATE), on_base),
        ]
        if request["incumbent_adapter"]:
            return [*found, Contestant("incumbent", request["incumbent"], self._answering(INCUMBENT), on_base)]
        if request["incumbent_weights"]:
            weights = {**on_base, "base": request["incumbent_weights_fingerprint"]}
            return [Contestant("incumbent", request["incumbent"], self._answering(INCUMBENT), weights), *found]
        return found

    def _answering(self, name: str) -> Generate:
        return partial(self._answers, name)

    def _answers(self, name: str, conversations: Sequence[Sequence[Message]]) -> list[Answer]:
        self._serve(name, _longest(conversations) + self._request["max_new_tokens"])
        client = self.server.client(name)
        try:
            with ThreadPoolExecutor(self._request["batch_size"]) as pool:
                found = []
                for answer in pool.map(partial(self._ask, client), self._plain(name, conversations)):
                    found.append(answer)
                    self._progress(len(found), len(conversations), f"answers by the {name}")
                return found
        finally:
            client.close()

    def _ask(self, client: ChatClient, conversation: Sequence[Message]) -> Answer:
        try:
            reply = client.ask(Question(conversation, self._request["max_new_tokens"], temperature=0.0, seed=0))
        except NoReplyError as error:
            raise EngineError(f"vLLM gave no answer to a test example: {error}.") from None
        return Answer(reply.text.strip(), reply.is_finished)

    def _plain(self, name: str, conversations: Sequence[Sequence[Message]]) -> list[list[Message]]:
        """vLLM renders them itself, and would read a control token in a report as one."""
        folder = self._request["incumbent_weights"] if self._is_by_itself(name) else self._request["base_folder"]
        tokenizer = load_tokenizer(Path(folder))
        tokens = control_tokens(tokenizer.added_tokens_decoder, tokenizer.chat_template)
        return [plain_messages(conversation, tokens) for conversation in conversations]

    def _is_by_itself(self, name: str) -> bool:
        """An incumbent on another base model."""
        return name == INCUMBENT and bool(self._request["incumbent_weights"])

    def _serve(self, name: str, context: int) -> None:
        """Base and adapters together, but where adapters are merged; an incumbent on another base model by itself."""
        is_by_itself = self._is_by_itself(name)
        wanted = name if is_by_itself or self._is_merging else BASE
        if self._served == wanted and context <= self._context:
            return
        start = self._start_incumbent if is_by_itself else self._start_base
        if self._is_merging and not is_by_itself and name != BASE:
            start = partial(self._start_merged, name)
        self.server.start(partial(start, context))
        self._served, self._context = wanted, context

    def _start_base(self, context: int, folder: Path) -> RunningEngine:
        request = self._request
        names = [CANDIDATE, *([INCUMBENT] if request["incumbent_adapter"] else [])]
        base, adapters = self._base(), {name: self._adapter(name) for name in names}
        return self._start(base, BASE, context, folder, {} if self._is_merging else adapters)

    def _start_merged(self, name: str, context: int, folder: Path) -> RunningEngine:
        merged = folder / "merged"
        write_merged(self._base(), self._adapter(name), self._request["merged_dtype"], merged)
        return self._start(merged, name, context, folder, {})

    def _base(self) -> Path:
        base = Path(self._request["base_folder"])
        require_folder(base, self._request["base_fingerprint"], "base model")
        return base

    def _adapter(self, name: str) -> Path:
        fields = {CANDIDATE: ("adapter_folder", "adapter_id", "adapter")}
        fields[INCUMBENT] = ("incumbent_adapter", "incumbent", "adapter that serves now")
        folder, fingerprint, what = fields[name]
        adapter = Path(self._request[folder])
        require_folder(adapter, self._request[fingerprint], what)
        return adapter

    def _start_incumbent(self, context: int, folder: Path) -> RunningEngine:
        weights = Path(self._request["incumbent_weights"])
        require_folder(weights, self._request["incumbent_weights_fingerprint"], "merged model that serves now")
        return self._start(weights, INCUMBENT, context, folder, {})

    def _start(self, model: Path, alias: str, context: int, folder: Path, adapters: dict[str, Path]) -> RunningEngine:
        python = Path(self._request["judge"]["vllm_python"])
        # As it will be served; on a GPU as transformers computes there, whatever the weights are kept in.
        dtype = self._request["merged_dtype"] if self._is_merging else "bfloat16"
        return start_vllm(python, model, alias, folder, context_tokens=context, dtype=dtype, adapters=adapters)


def _longest(conversations: Sequence[Sequence[Message]]) -> int:
    """Tokens of the longest one, at most: a token is a byte or more."""
    return _TEMPLATE_TOKENS + max(sum(len(m["content"].encode()) for m in c) for c in conversations)
