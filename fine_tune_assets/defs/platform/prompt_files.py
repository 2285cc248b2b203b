"""Hashes of the recipe's tokenizer and chat template, for manifests and change detection. Loads no model."""

from functools import lru_cache
from pathlib import Path

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_listing, fingerprint_text
from fine_tune_assets.core.prompts.chat_templates import read_chat_template
from fine_tune_assets.core.prompts.tokenizers import TOKENIZER
from fine_tune_assets.recipes.schema import Recipe
from fine_tune_assets.training.base_models.registration import bundled_gguf


def fingerprint_prompt_files(recipe: Recipe, data_dir: Path) -> dict[str, str | None]:
    """SHA-256 of the recipe's tokenizer and chat template; None if they can't be read, which `base_models` reports.

    The bundled model contains both in its GGUF file.
    """
    named = recipe.base_model.folder
    try:
        if named is None:
            bundled = _fingerprint(bundled_gguf())
            return {"tokenizer": bundled, "chat_template": bundled}
        folder = data_dir / named
        return {
            "tokenizer": _fingerprint(folder / TOKENIZER),
            "chat_template": fingerprint_text(read_chat_template(folder)),
        }
    except (OSError, ValueError, FineTuneError):
        return {"tokenizer": None, "chat_template": None}


def _fingerprint(path: Path) -> str:
    return _cached_fingerprint(path, fingerprint_listing(path))


@lru_cache(maxsize=4)
def _cached_fingerprint(path: Path, _listed: str) -> str:
    """Cached until the file changes, since every sensor tick needs it."""
    return fingerprint_file(path)
