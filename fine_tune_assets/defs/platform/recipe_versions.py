"""The recipe in the code versions of assets: a changed section rebuilds the assets that read it, and no other.

A code version is an asset's own version, if it has one, and the sections of the recipe that the asset reads, such as
`9 dedup=1f2e3d4c tasks=5a6b7c8d`. Modules declare the names; `definitions.py` adds the fingerprints when it is loaded. Dagster
records the code version with each materialization, and `InputsChanged` compares it.
"""

from collections.abc import Iterable, Mapping

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import combine
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.defs.platform.prompt_files import fingerprint_prompt_files
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.recipe_parts import section_fingerprints
from fine_tune_assets.recipes.schema import Recipe

PROMPT_FILES = "prompt_files"
"""Tokenizer and chat template of the base model, next to the sections: the manifest of an instruction set names them."""
RECIPE_TAG = ".dagster/fine_tune_recipe"
"""Tag of a run: the sections when it started. Dagster's UI hides tags with this prefix."""
_DIGITS = 8


def code_version(*sections: str, own: str = "") -> str:
    """The code version of an asset that reads these sections. Change `own` with the asset's columns or rules."""
    return " ".join(filter(None, (own, *sections)))


def read_section_versions() -> dict[str, str] | None:
    """Section → its fingerprint; None if the recipe can't be read, which every command and asset reports."""
    try:
        settings = load_settings()
        recipe = load_recipe(settings.recipe)
        found = section_fingerprints(recipe)
    except (FineTuneError, OSError):
        return None
    files = fingerprint_prompt_files(recipe, settings.layout.data_dir)
    prompt_files = combine([str(value) for value in files.values()])
    return {name: version[:_DIGITS] for name, version in {**found, PROMPT_FILES: prompt_files}.items()}


def training_version(recipe: Recipe) -> str:
    """The fingerprint of the section `training` in code versions."""
    return section_fingerprints(recipe)["training"][:_DIGITS]


def with_section_versions(version: str, sections: Mapping[str, str]) -> str:
    """A code version with the current fingerprint of each section that it names."""
    names = (part.partition("=")[0] for part in version.split())
    return " ".join(f"{name}={sections[name]}" if name in sections else name for name in names)


def list_sections(version: str | None) -> list[str]:
    """The sections of the recipe in a code version."""
    return [part.partition("=")[0] for part in (version or "").split() if "=" in part]


def section_version(version: str | None, section: str) -> str | None:
    """The fingerprint of a section in a code version; None if it has none."""
    parts = dict(part.split("=", 1) for part in (version or "").split() if "=" in part)
    return parts.get(section)


def list_changed_sections(before: str | None, now: str) -> list[str]:
    """The sections of a code version that have another fingerprint in `before`."""
    changed = {name: section_version(before, name) for name in list_sections(now)}
    return [name for name, known in changed.items() if known not in (None, section_version(now, name))]


def describe_sections(sections: Mapping[str, str]) -> str:
    """The value of RECIPE_TAG."""
    return with_section_versions(" ".join(sections), sections)


def is_other_recipe(tags: Mapping[str, str], version: str | None) -> bool:
    """Whether a run with these tags started with another state of a section of this code version. False without RECIPE_TAG."""
    return RECIPE_TAG in tags and bool(list_changed_sections(tags[RECIPE_TAG], version or ""))


def is_loaded_recipe(versions: Iterable[str | None], sections: Mapping[str, str] | None) -> bool:
    """Whether these loaded code versions contain the current sections. False if the recipe can't be read (None)."""
    return sections is not None and all(with_section_versions(name, sections) == name for name in versions if name)


def recipe_tags() -> dict[str, str]:
    """The tag of a run that is requested now."""
    sections = read_section_versions()
    return {} if sections is None else {RECIPE_TAG: describe_sections(sections)}
