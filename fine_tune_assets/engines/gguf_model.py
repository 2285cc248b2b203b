"""Tokenizes with, evaluates and quantizes a GGUF file through llama.cpp's C API, from the package `llama-cpp-py-sync`.

The library aborts the process on some damaged input: read untrusted files in a subprocess. To quantize in a subprocess, run
`python -m … SOURCE TARGET TYPE`.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fine_tune_assets.core.errors import FineTuneError


class GgufError(FineTuneError):
    """llama.cpp cannot load or evaluate a file."""


class GgufModel:
    """An open model. Use `open_gguf`."""

    def __init__(self, model: Any, context: Any) -> None:
        self._model = model
        self._context = context
        self._vocabulary = _library().llama_model_get_vocab(model)

    def tokenize(self, text: str) -> list[int]:
        """Token ids with special tokens recognized and none added."""
        data = text.encode()
        count = -_library().llama_tokenize(self._vocabulary, data, len(data), _ffi().NULL, 0, False, True)
        ids = _ffi().new("llama_token[]", max(count, 1))
        _library().llama_tokenize(self._vocabulary, data, len(data), ids, count, False, True)
        return list(ids[0:count])

    def metadata(self, key: str) -> str | None:
        size = _library().llama_model_meta_val_str(self._model, key.encode(), _ffi().NULL, 0)
        if size < 0:
            return None
        buffer = _ffi().new("char[]", size + 1)
        _library().llama_model_meta_val_str(self._model, key.encode(), buffer, size + 1)
        return bytes(_ffi().string(buffer)).decode("utf-8", errors="replace")

    def is_end_token(self, token: int) -> bool:
        """Whether generation stops at `token`."""
        return bool(_library().llama_vocab_is_eog(self._vocabulary, token))

    def logits(self, ids: Sequence[int]) -> Any:
        """Next-token logits after each token, float32 of shape [tokens, vocabulary]. Raises GgufError."""
        library, size = _library(), _library().llama_vocab_n_tokens(self._vocabulary)
        library.llama_memory_clear(library.llama_get_memory(self._context), True)
        batch = library.llama_batch_init(len(ids), 0, 1)
        try:
            batch.n_tokens = len(ids)
            for position, token in enumerate(ids):
                batch.token[position], batch.pos[position], batch.logits[position] = token, position, 1
                batch.n_seq_id[position], batch.seq_id[position][0] = 1, 0
            if library.llama_decode(self._context, batch):
                raise GgufError(f"llama.cpp could not evaluate {len(ids)} tokens.")
            scores = _ffi().buffer(library.llama_get_logits(self._context), len(ids) * size * 4)
            return np.frombuffer(scores, dtype=np.float32).reshape(len(ids), size).copy()
        finally:
            library.llama_batch_free(batch)


@contextmanager
def open_gguf(file: Path, context_tokens: int = 0, *, adapter: Path | None = None) -> Iterator[GgufModel]:
    """`context_tokens` 0 loads only the vocabulary. `adapter` is a LoRA GGUF that is applied. Raises GgufError."""
    library, ffi = _library(), _ffi()
    parameters = library.llama_model_default_params()
    parameters.vocab_only = context_tokens == 0
    model = library.llama_model_load_from_file(str(file).encode(), parameters)
    if model == ffi.NULL:
        raise GgufError(f"llama.cpp cannot load {file.name}.")
    context = ffi.NULL
    try:
        if context_tokens:
            context = library.llama_init_from_model(model, _context_parameters(context_tokens))
            if context == ffi.NULL:
                raise GgufError(f"llama.cpp cannot create a context of {context_tokens} tokens for {file.name}.")
        if adapter is not None:
            _apply_adapter(model, context, adapter)
        yield GgufModel(model, context)
    finally:
        if context != ffi.NULL:
            library.llama_free(context)
        library.llama_model_free(model)  # also frees its adapters


def quantize(source: Path, target: Path, file_type: str) -> int:
    """Return 0 on success. `file_type` is llama.cpp's name, such as Q4_K_M. Tensors whose rows are not a multiple of 256 get the
    nearest type that supports them."""
    parameters = _library().llama_model_quantize_default_params()
    parameters.ftype = getattr(_library(), f"LLAMA_FTYPE_MOSTLY_{file_type}")
    options = _ffi().new("llama_model_quantize_params *", parameters)
    return int(_library().llama_model_quantize(str(source).encode(), str(target).encode(), options))


def _context_parameters(tokens: int) -> Any:
    parameters = _library().llama_context_default_params()
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = tokens
    # Threads synchronize by spinning: with one per core and other load, 160 tokens took 4.6 s instead of 0.6 s (2 cores).
    parameters.n_threads = parameters.n_threads_batch = max(1, (os.cpu_count() or 1) // 2)
    return parameters


def _apply_adapter(model: Any, context: Any, adapter: Path) -> None:
    library, ffi = _library(), _ffi()
    loaded = library.llama_adapter_lora_init(model, str(adapter).encode())
    if loaded == ffi.NULL:
        raise GgufError(f"llama.cpp cannot apply the adapter {adapter.name}.")
    if context != ffi.NULL and library.llama_set_adapters_lora(
        context, ffi.new("struct llama_adapter_lora *[]", [loaded]), 1, ffi.new("float[]", [1.0])
    ):
        raise GgufError(f"llama.cpp cannot apply the adapter {adapter.name}.")


@cache
def _ffi() -> Any:
    from llama_cpp_py_sync._cffi_bindings import get_ffi

    return get_ffi()


@cache
def _library() -> Any:
    from llama_cpp_py_sync._cffi_bindings import get_lib

    library = get_lib()
    library.llama_log_set(_silent_logger(), _ffi().NULL)
    library.llama_backend_init()
    return library


@cache
def _silent_logger() -> Any:
    """Cached, because the library may call it at any time."""
    return _ffi().callback("void(enum ggml_log_level, const char *, void *)", lambda *_: None)


if __name__ == "__main__":
    sys.exit(quantize(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
