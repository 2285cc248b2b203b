"""Whether an engine fits into the memory that is left: a pure decision on an estimate.

Owns the estimate. What vLLM takes of a GPU is its own to refuse: it looks before it loads.
"""

from dataclasses import dataclass
from pathlib import Path

from fine_tune_assets.core.releases import ReleaseFolder
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.bundled_model import find_base_gguf
from fine_tune_assets.engines.gguf_header import cache_bytes_per_token, read_gguf_header
from fine_tune_assets.engines.llama_cpp import GgufFiles
from fine_tune_assets.engines.running import EngineError
from fine_tune_assets.engines.vllm import has_gpu

GIB = 2**30
LLAMA_PROGRAM_BYTES = int(0.5 * GIB)
"""Program and buffers for computing, which grow with the model. Measured with the bundled one: .11 GiB beside its weights and the
keys and values of 2,048 tokens."""
VLLM_PROGRAM_BYTES = int(2.5 * GIB)
"""Three processes with torch. Measured on a CPU with a 135M model: 2.5 GiB beside its weights and its cache, shared pages counted
in each."""
_UNKNOWN_CACHE_BYTES = 131_072
"""Of one token, where the file does not say: what Llama 3 8B takes."""


def gguf_files_of(release: ReleaseFolder) -> GgufFiles:
    """Raises EngineError if the base GGUF that the release's adapter belongs to is not installed."""
    if not release.base_gguf:
        return GgufFiles(release.model)
    base = find_base_gguf(release.base_gguf)
    if base is None:
        raise EngineError(
            f"Release {release.release_id} is an adapter on the base model {release.base_gguf[:12]}, which is not installed "
            "here. Run `make setup`, or build the release with an export that holds the whole model."
        )
    return GgufFiles(base, release.model)


@dataclass(frozen=True)
class Need:
    weights_bytes: int
    cache_bytes: int
    program_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.cache_bytes + self.program_bytes


def refusal(need: Need, available_bytes: int, reserve_bytes: int) -> str | None:
    """Why it is not started; None if it fits."""
    if need.total_bytes <= available_bytes - reserve_bytes:
        return None
    return (
        f"It does not fit: it takes about {need.total_bytes / GIB:.1f} GiB (weights {need.weights_bytes / GIB:.1f}, keys and "
        f"values {need.cache_bytes / GIB:.1f}, program {need.program_bytes / GIB:.1f}), and {available_bytes / GIB:.1f} GiB are "
        f"available, of which {reserve_bytes / GIB:g} stay free (FINE_TUNE_ENGINE_MEMORY_RESERVE_GB). Stop something, or serve a "
        "smaller export or context."
    )


def need_of(release: ReleaseFolder, settings: Settings, parallel: int) -> Need:
    if release.engine == "vllm":
        if has_gpu():
            return Need(0, 0, VLLM_PROGRAM_BYTES)
        return Need(_size(release.model), settings.vllm.cache_gb * GIB, VLLM_PROGRAM_BYTES)
    tokens = settings.engine.context_tokens * parallel
    files = gguf_files_of(release)
    per_token = cache_bytes_per_token(read_gguf_header(files.model)) or _UNKNOWN_CACHE_BYTES
    weights = _size(files.model) + (0 if files.adapter is None else _size(files.adapter))
    return Need(weights, per_token * tokens, LLAMA_PROGRAM_BYTES)


def _size(model: Path) -> int:
    files = model.rglob("*") if model.is_dir() else [model]
    return sum(path.stat().st_size for path in files if path.is_file())
