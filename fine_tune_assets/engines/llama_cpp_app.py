"""llama-cpp-python's server, which also tells the tokens of an answer that it streams.

Owns that addition: the plain server says them of whole answers only. The last chunk of a stream has no choices and the usage, as
OpenAI's clients know it. Run by uvicorn in a process of its own, started by `llama_cpp`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import llama_cpp
from llama_cpp.server.app import create_app as create_plain_app


def create_app() -> Any:
    """For uvicorn's `factory`."""
    model: Any = llama_cpp.Llama
    model.generate = _counting(model.generate)
    # Looked up for each request that is streamed: chat, and plain completions.
    model.create_chat_completion = _telling(model.create_chat_completion)
    model.__call__ = _telling(model.__call__)
    return create_plain_app()


def _counting(generate: Callable[..., Iterator[int]]) -> Callable[..., Iterator[int]]:
    """Keeps beside the model what was read and written last. One answer at a time: the server has a lock."""

    def counted(self: Any, tokens: Any, *args: Any, **options: Any) -> Iterator[int]:
        self.read_and_written = [len(tokens), 0]
        for token in generate(self, tokens, *args, **options):
            if not llama_cpp.llama_vocab_is_eog(self._model.vocab, token):
                self.read_and_written[1] += 1
            yield token

    return counted


def _telling(complete: Callable[..., Any]) -> Callable[..., Any]:
    def told(self: Any, *args: Any, **options: Any) -> Any:
        found = complete(self, *args, **options)
        return _with_usage(self, found) if options.get("stream") else found

    return told


def _with_usage(model: Any, chunks: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    last: dict[str, Any] = {}
    for last in chunks:
        yield last
    read, written = model.read_and_written
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    yield {**last, "choices": [], "usage": usage}
