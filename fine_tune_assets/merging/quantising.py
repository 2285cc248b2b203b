"""Quantises a GGUF file with llama.cpp's own library, as a process: `python -m … SOURCE TARGET FORMAT`.

A process of its own, since the library ends the one that it is in when a file is not as it expects.
"""

import ctypes
import sys

TYPES = {"q4_k_m": "Q4_K_M", "q5_k_m": "Q5_K_M", "q6_k": "Q6_K"}
"""Format → its name in llama.cpp."""


def quantise(source: str, target: str, gguf_format: str) -> int:
    """0 on success. Rows that are no multiple of 256 become the nearest type that can hold them, as llama.cpp decides."""
    import llama_cpp

    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{TYPES[gguf_format]}")
    return int(llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(parameters)))


if __name__ == "__main__":
    sys.exit(quantise(*sys.argv[1:4]))
