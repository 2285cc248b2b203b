"""Writes and reads the folder of a trained verifier: its weights, its card and the certificate that no measured text is in its
training.

The weights hold what training changed, matrices as int8 with a scale per row. The frozen word embeddings come with the bundled
encoder. A verifier on another BERT model has its word embeddings, tokenizer and configuration in its folder.
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
from fine_tune_assets.embeddings.encoder import bundled_encoder_folder, encoder_version, load_tokenizer
from fine_tune_assets.judging.judges.verifier.pair_encoding import ENCODING_VERSION

WEIGHTS_FILE, CARD_FILE, LEAKAGE_FILE = "verifier.safetensors", "card.json", "leakage.json"
CONFIG_FILE, TOKENIZER_FILE = "config.json", "tokenizer.json"
"""Of another BERT model than the bundled encoder."""
SHIPPED_FOLDER: Final = Path(__file__).parent / "shipped"
_FROZEN: Final = "embeddings.word_embeddings.weight"
_SCALE: Final = ".scale"
Weights = Mapping[str, NDArray[Any]]


def pack_weights(weights: Weights, *, with_frozen: bool = False) -> dict[str, NDArray[Any]]:
    """Matrices as int8 with an fp32 scale per row, everything else as it is; the frozen embeddings only with `with_frozen`."""
    packed: dict[str, NDArray[Any]] = {}
    for name, value in weights.items():
        if name == _FROZEN and not with_frozen:
            continue
        packed[name] = np.ascontiguousarray(value, dtype=np.float32)
        if value.ndim == 2 and name.startswith("encoder."):
            scale = np.maximum(np.abs(packed[name]).max(axis=1, keepdims=True), 1e-12) / 127
            packed[name + _SCALE] = scale.astype(np.float32)
            packed[name] = np.rint(packed[name] / scale).astype(np.int8)
    return packed


def unpack_weights(packed: Weights, frozen: NDArray[Any] | None) -> dict[str, NDArray[Any]]:
    """All weights as fp32. `frozen`: the word embeddings, if `packed` lacks them."""
    found: dict[str, NDArray[Any]] = {} if frozen is None else {_FROZEN: frozen}
    for name, value in packed.items():
        if not name.endswith(_SCALE):
            scale = packed.get(name + _SCALE)
            found[name] = value if scale is None else value.astype(np.float32) * scale
    return found


def write_verifier(
    folder: Path, weights: Weights, card: Mapping[str, Any], leakage: Mapping[str, Any], encoder: Path | None = None
) -> None:
    """`encoder`: the folder with configuration and tokenizer of another BERT model than the bundled encoder."""
    from safetensors.numpy import save

    write_bytes(folder / WEIGHTS_FILE, save(pack_weights(weights, with_frozen=encoder is not None)))
    if encoder is not None:
        for name in (CONFIG_FILE, TOKENIZER_FILE):
            write_bytes(folder / name, (encoder / name).read_bytes())
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
    packed = load_file(path)
    own = None if _FROZEN in packed else load_file(bundled_encoder_folder() / "model.safetensors")[_FROZEN]
    return unpack_weights(packed, own)


def encoder_folder(folder: Path) -> Path:
    """The folder with configuration and tokenizer of the verifier's encoder."""
    return folder if (folder / CONFIG_FILE).is_file() else bundled_encoder_folder()


def count_attention_heads(folder: Path) -> int:
    return int(json.loads((encoder_folder(folder) / CONFIG_FILE).read_text(encoding="utf-8"))["num_attention_heads"])


_ASSUMED: Final = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "position_embedding_type": "absolute",
}
"""What `verifier_graph` builds; BERT's own defaults."""


def is_bert_folder(folder: Path) -> bool:
    """Whether a local folder holds a BERT model, with BERT's own activation and tokens, which a verifier can start from."""
    if not all((folder / name).is_file() for name in (CONFIG_FILE, TOKENIZER_FILE, "model.safetensors")):
        return False
    config = {**_ASSUMED, "model_type": "", **json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))}
    tokens = load_tokenizer(folder)
    has_tokens = all(tokens.token_to_id(name) is not None for name in ("[CLS]", "[SEP]"))
    return has_tokens and all(config[name] == value for name, value in _ASSUMED.items())


def read_labelled_groups(folder: Path) -> frozenset[str]:
    return frozenset(read_card(folder).get("labelled_groups", ()))


def read_card(folder: Path) -> dict[str, Any]:
    """Empty if there is none."""
    file = folder / CARD_FILE
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def verifier_version(folder: Path) -> str:
    """Fingerprint of everything that affects a reading: the weights, the encoder and the encoding of a pair."""
    own = folder if encoder_folder(folder) == folder else None
    encoder = (
        encoder_version() if own is None else combine(fingerprint_file(own / n) for n in (CONFIG_FILE, TOKENIZER_FILE))
    )
    return combine([fingerprint_file(folder / WEIGHTS_FILE), encoder, ENCODING_VERSION])
