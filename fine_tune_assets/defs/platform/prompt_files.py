"""Which tokenizer and chat template the recipe names, without importing a model.

Belongs here: their hashes, for a set's manifest and for noticing that they changed. Must stay out: reading tokens.
"""

from functools import lru_cache
from pathlib import Path

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_listing, fingerprint_text
from fine_tune_assets.core.prompts.chat_templates import read_chat_template
from fine_tune_assets.core.prompts.tokenizers import TOKENIZER
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.training.base_models.registry import bundled_gguf


def prompt_files(installation: Installation) -> dict[str, str | None]:
    """SHA-256 of the recipe's tokenizer and chat template. None where the folder lacks them: base_models says what is wrong.

    The bundled model has both in the one file that it is imported from.
    """
    named = installation.recipe.base_model.folder
    try:
        if named is None:
            bundled = _hashed(bundled_gguf())
            return {"tokenizer": bundled, "chat_template": bundled}
        folder = installation.path(named)
        return {
            "tokenizer": _hashed(folder / TOKENIZER),
            "chat_template": fingerprint_text(read_chat_template(folder)),
        }
    except (OSError, ValueError, FineTuneError):
        return {"tokenizer": None, "chat_template": None}


def _hashed(path: Path) -> str:
    return _hash(path, fingerprint_listing(path))


@lru_cache(maxsize=4)
def _hash(path: Path, _listed: str) -> str:
    """Remembered until the file changes: it is asked for at every tick."""
    return fingerprint_file(path)
