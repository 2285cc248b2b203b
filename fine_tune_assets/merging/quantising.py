"""Quantizes a GGUF file with llama.cpp's own library, as a process: `python -m … SOURCE TARGET FORMAT`.

A process of its own, since the library ends the one that it is in when a file is not as it expects.
"""

import sys
from pathlib import Path

TYPES = {"q4_k_m": "Q4_K_M", "q5_k_m": "Q5_K_M", "q6_k": "Q6_K"}
"""Format → its name in llama.cpp."""


def quantise(source: str, target: str, gguf_format: str) -> int:
    """0 on success."""
    from fine_tune_assets.engines.gguf_model import quantize

    return quantize(Path(source), Path(target), TYPES[gguf_format])


if __name__ == "__main__":
    sys.exit(quantise(*sys.argv[1:4]))
