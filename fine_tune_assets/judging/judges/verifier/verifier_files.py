"""Writes and reads the folder of a trained verifier: its weights, its card and the certificate that no measured text is in its
training.

The weights hold what training changed, matrices as int8 with a scale per row; the frozen word embeddings come with the bundled
encoder.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.files import write_bytes, write_text
from fine_tune_assets.core.fingerprints import combine, fingerprint_file
from fine_tune_assets.embeddings.encoder import bundled_encoder_folder, encoder_version
from fine_tune_assets.judging.judges.verifier.pair_encoding import ENCODING_VERSION

WEIGHTS_FILE, CARD_FILE, LEAKAGE_FILE = "verifier.safetensors", "card.json", "leakage.json"
SHIPPED_FOLDER: Final = Path(__file__).parent / "shipped"
_FROZEN: Final = "embeddings.word_embeddings.weight"
_SCALE: Final = ".scale"
Weights = Mapping[str, NDArray[Any]]


def pack_weights(weights: Weights) -> dict[str, NDArray[Any]]:
    """Matrices as int8 with an fp32 scale per row, everything else as it is; without the frozen embeddings."""
    packed: dict[str, NDArray[Any]] = {}
    for name, value in weights.items():
        if name == _FROZEN:
            continue
        packed[name] = np.ascontiguousarray(value, dtype=np.float32)
        if value.ndim == 2 and name.startswith("encoder."):
            scale = np.maximum(np.abs(packed[name]).max(axis=1, keepdims=True), 1e-12) / 127
            packed[name + _SCALE] = scale.astype(np.float32)
            packed[name] = np.rint(packed[name] / scale).astype(np.int8)
    return packed


def unpack_weights(packed: Weights, frozen: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """All weights as fp32."""
    found: dict[str, NDArray[Any]] = {_FROZEN: frozen}
    for name, value in packed.items():
        if not name.endswith(_SCALE):
            scale = packed.get(name + _SCALE)
            found[name] = value if scale is None else value.astype(np.float32) * scale
    return found


def write_verifier(folder: Path, weights: Weights, card: Mapping[str, Any], leakage: Mapping[str, Any]) -> None:
    from safetensors.numpy import save

    write_bytes(folder / WEIGHTS_FILE, save(pack_weights(weights)))
    for name, content in ((CARD_FILE, card), (LEAKAGE_FILE, leakage)):
        write_text(folder / name, json.dumps(content, indent=1, sort_keys=True) + "\n")


def read_weights(folder: Path) -> dict[str, NDArray[Any]]:
    """Raises RecipeError if the folder holds no verifier."""
    from safetensors.numpy import load_file

    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise RecipeError(
            f"judge.verifier: {folder} holds no {WEIGHTS_FILE}. Train one with `fine-tune verifier train`."
        )
    return unpack_weights(load_file(path), load_file(bundled_encoder_folder() / "model.safetensors")[_FROZEN])


def read_labelled_groups(folder: Path) -> frozenset[str]:
    return frozenset(read_card(folder).get("labelled_groups", ()))


def read_card(folder: Path) -> dict[str, Any]:
    """Empty if there is none."""
    file = folder / CARD_FILE
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def verifier_version(folder: Path) -> str:
    """Fingerprint of everything that affects a reading: the weights, the frozen embeddings and the encoding of a pair."""
    return combine([fingerprint_file(folder / WEIGHTS_FILE), encoder_version(), ENCODING_VERSION])
