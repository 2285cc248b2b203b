"""An engine for machines without vLLM: transformers' continuous batching with vLLM's command line and routes.

`write_interpreter` writes a program to name in `FINE_TUNE_VLLM_PYTHON`: the supervisor starts it as it starts vLLM, with the same
options, socket and key. It serves the GPU proof alone: greedy answers only, no schemas, no tools, no adapters.
"""

import argparse
import asyncio
import json
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NAME = "transformers' continuous batching"
_CACHE_SHARE = 0.85
"""Share of the memory without the weights that the KV cache takes; activations and logits need the rest."""
_BATCH_TOKENS = 2048
"""Per step. Attention without FlashAttention has a mask of this times the tokens of the cache."""
_CPU_BLOCKS, _CPU_BATCH_TOKENS = 64, 256


def write_interpreter(path: Path) -> Path:
    """A program that takes the command line of `python -m vllm.entrypoints.openai.api_server` and starts this engine."""
    search = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    text = f"#!/bin/sh\nPYTHONPATH='{search}' exec '{sys.executable}' -m benchmarks.gpu_proof.batching_server \"$@\"\n"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o700)
    return path


def read_options(words: list[str]) -> argparse.Namespace:
    """The options of vLLM's server that matter here; others are ignored."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--uds", required=True)
    parser.add_argument("--max-model-len", type=int, default=2048)
    parser.add_argument("--gpu-memory-utilization", type=float, default=0.45)
    parser.add_argument("--max-num-seqs", type=int, default=256)
    return parser.parse_known_args(words)[0]


class Batcher:
    """A model whose answers are generated together, each request joining and leaving the running batch."""

    def __init__(self, options: argparse.Namespace) -> None:
        import torch
        from transformers import GenerationConfig

        from fine_tune_assets.engines.transformers_models import load_model, load_tokenizer, stop_ids

        if torch.cuda.is_available():
            torch.cuda.set_per_process_memory_fraction(options.gpu_memory_utilization)
        self.tokenizer: Any = load_tokenizer(options.model)
        model: Any = load_model(options.model)
        self._stops = sorted(stop_ids(model, self.tokenizer))
        generation = GenerationConfig(
            do_sample=False, eos_token_id=self._stops, pad_token_id=self.tokenizer.pad_token_id, max_new_tokens=256
        )
        config = _batching_config(options)
        self._manager = model.init_continuous_batching(generation_config=generation, continuous_batching_config=config)
        self._manager.start()

    def encode(self, messages: list[dict[str, Any]]) -> list[int]:
        from fine_tune_assets.core.prompts.conversations import render

        text = render(self.tokenizer, messages, add_generation_prompt=True)
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @property
    def is_alive(self) -> bool:
        return self._manager.background_thread_status.fatal_error is None

    async def generate(self, prompt: list[int], max_tokens: int) -> AsyncIterator[tuple[str, int, bool]]:
        """Text as it is generated, with the number of tokens so far and whether the answer ended at a stop token."""
        from tokenizers.decoders import DecodeStream

        request_id, outputs = uuid.uuid4().hex, asyncio.Queue[Any]()
        self._manager.register_result_handler(request_id, outputs.put_nowait)
        if not self._manager.add_request(prompt, request_id=request_id, max_new_tokens=max_tokens, streaming=True):
            raise RuntimeError("The batch is stopped.")  # the request was dropped, so no answer would come
        decoder, count, is_finished = DecodeStream([], skip_special_tokens=True), 0, False
        try:
            while not is_finished:
                output = await outputs.get()
                if output.error is not None:
                    raise RuntimeError("The batch failed.")
                new = output.generated_tokens[count:]
                count, is_finished = len(output.generated_tokens), output.is_finished()
                parts = [decoder.step(self.tokenizer._tokenizer, token) for token in new if token not in self._stops]
                is_stopped = any(token in self._stops for token in new)
                yield "".join(part for part in parts if part), count, is_stopped
        finally:
            if not is_finished:
                self._manager.cancel_request(request_id)


def _batching_config(options: argparse.Namespace) -> Any:
    import torch
    from transformers import ContinuousBatchingConfig

    if not torch.cuda.is_available():
        return ContinuousBatchingConfig(
            num_blocks=_CPU_BLOCKS, max_batch_tokens=_CPU_BATCH_TOKENS, use_cuda_graph=False
        )
    free, total = torch.cuda.mem_get_info()
    room = options.gpu_memory_utilization * total - torch.cuda.memory_reserved()
    share = max(0.01, min(0.9, _CACHE_SHARE * room / free))
    return ContinuousBatchingConfig(
        max_memory_percent=share, max_requests_per_batch=options.max_num_seqs, max_batch_tokens=_BATCH_TOKENS
    )


def make_app(batcher: Batcher, options: argparse.Namespace, key: str) -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response, StreamingResponse
    from starlette.routing import Route

    def refuse(request: Request) -> Response | None:
        if request.headers.get("authorization") != f"Bearer {key}":
            return JSONResponse({"error": {"message": "invalid key"}}, status_code=401)
        return None if batcher.is_alive else JSONResponse({"error": {"message": "the batch failed"}}, status_code=500)

    async def models(request: Request) -> Response:
        return refuse(request) or JSONResponse(
            {"object": "list", "data": [{"id": options.served_model_name, "object": "model"}]}
        )

    async def complete(request: Request) -> Response:
        if (refused := refuse(request)) is not None:
            return refused
        body = await request.json()
        prompt = batcher.encode(body["messages"])
        limit = options.max_model_len - len(prompt)
        wanted = int(body.get("max_completion_tokens") or body.get("max_tokens") or max(1, limit))
        if wanted > limit:
            error = {"message": "maximum context length exceeded", "code": "context_length_exceeded"}
            return JSONResponse({"error": error}, status_code=400)
        if body.get("stream"):
            return StreamingResponse(_events(batcher, options, body, prompt, wanted), media_type="text/event-stream")
        parts, count, is_stopped = list[str](), 0, False
        async for text, count, is_stopped in batcher.generate(prompt, wanted):  # noqa: B007 (the last ones are used)
            parts.append(text)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "".join(parts)},
            "finish_reason": "stop" if is_stopped else "length",
        }
        return JSONResponse({**_head(options, "chat.completion"), "choices": [choice], "usage": _usage(prompt, count)})

    return Starlette(
        routes=[Route("/v1/models", models), Route("/v1/chat/completions", complete, methods=["POST"])],
    )


def _head(options: argparse.Namespace, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": options.served_model_name,
    }


def _usage(prompt: list[int], count: int) -> dict[str, int]:
    return {"prompt_tokens": len(prompt), "completion_tokens": count, "total_tokens": len(prompt) + count}


async def _events(
    batcher: Batcher, options: argparse.Namespace, body: dict[str, Any], prompt: list[int], wanted: int
) -> AsyncIterator[str]:
    head, count, is_stopped = _head(options, "chat.completion.chunk"), 0, False

    def event(delta: dict[str, str], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"

    yield event({"role": "assistant", "content": ""})
    async for text, count, is_stopped in batcher.generate(prompt, wanted):  # noqa: B007 (the last ones are used)
        if text:
            yield event({"content": text})
    yield event({}, "stop" if is_stopped else "length")
    if (body.get("stream_options") or {}).get("include_usage"):
        yield f"data: {json.dumps({**head, 'choices': [], 'usage': _usage(prompt, count)})}\n\n"
    yield "data: [DONE]\n\n"


def main() -> None:
    import uvicorn

    options = read_options(sys.argv[1:])
    app = make_app(Batcher(options), options, os.environ["VLLM_API_KEY"])
    uvicorn.run(app, log_level="warning", access_log=False, uds=options.uds)


if __name__ == "__main__":
    main()
