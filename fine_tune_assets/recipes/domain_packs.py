"""Finds and reads a domain pack: a folder with `pack.yaml` and word lists. `domain_pack_schema` defines the fields."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final

import yaml
from pydantic import TypeAdapter, ValidationError

from fine_tune_assets.core.errors import DomainPackError
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_json, fingerprint_listing
from fine_tune_assets.core.paths import PACKAGE_DIR
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.core.strict_parsing import DuplicateKeyError, load_values
from fine_tune_assets.core.word_lists import parse_lists
from fine_tune_assets.recipes.domain_pack_schema import DomainPack
from fine_tune_assets.recipes.removed_fields import PACK_FIELDS, describe_removed_fields

PACK_FILE: Final = "pack.yaml"
SECTION_NAMES: Final = "section_names"
RUBRIC_FILE: Final = "rubric.yaml"
_PACKS_DIR: Final = PACKAGE_DIR / "packs"
SCRUBBING_LISTS: Final = (
    "abbreviations",
    "disease_names",
    "eponyms",
    "measures",
    "medicines",
    "ordinary_words",
    "protected_words",
)
"""Word lists that decide what is an identifier."""
_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "scrub": ("rule_sets", "tagger", "dates", "personal_date_words", "identifiers", "kept_values"),
    "labelled_sets": ("labelled_sets", "indirect_labels"),
    "sections": (),
    "checks": ("checks",),
    "final_texts": ("final_texts",),
    "rubric": (),
}
_FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "scrub": tuple(f"{name}.txt" for name in SCRUBBING_LISTS),
    "sections": (f"{SECTION_NAMES}.txt",),
    "rubric": (RUBRIC_FILE,),
}
PACK_PARTS: Final = tuple(_FIELDS)
"""Parts of a pack that decide results. The others are words for people."""


@dataclass(frozen=True, eq=False)
class LoadedPack:
    """A pack with its folder."""

    name: str
    folder: Path
    pack: DomainPack

    def read_list(self, name: str) -> Mapping[str, tuple[str, ...]]:
        """The lists of a file of the pack; none if it has no such file."""
        file = self.folder / f"{name}.txt"
        return parse_lists(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def read_words(self, name: str) -> frozenset[str]:
        """The words of a file of the pack, separated by white space; none if it has no such file."""
        return frozenset(word for line in self.read_list(name).get("", ()) for word in line.split())

    @property
    def rubric_file(self) -> Path:
        return self.folder / RUBRIC_FILE

    @cached_property
    def section_names(self) -> frozenset[str]:
        """Known section names, in capitals."""
        return frozenset(self.read_list(SECTION_NAMES).get("", ()))

    def list_labelled_files(self, data_dir: Path) -> list[Path]:
        """The labelled sets of the domain. Sets of another domain measure nothing here."""
        return sorted(path for name in self.pack.labelled_sets for path in (data_dir / name).glob("*.jsonl"))

    def fingerprint(self, parts: Iterable[str]) -> str:
        """Fingerprint of some parts: the values of their fields, and the contents of their files."""
        chosen, values = sorted(set(parts)), asdict(self.pack)
        files = [self.folder / name for part in chosen for name in _FILES.get(part, ())]
        return fingerprint_json(
            {
                "fields": {name: values[name] for part in chosen for name in _FIELDS[part]},
                "files": {file.name: fingerprint_file(file) for file in files if file.is_file()},
            }
        )


def shipped_packs() -> dict[str, Path]:
    """Name → folder of every pack that comes with the package."""
    return {file.parent.name: file.parent for file in sorted(_PACKS_DIR.glob(f"*/{PACK_FILE}"))}


def load_pack(domain: str) -> LoadedPack:
    """A shipped pack by its name, or one in a folder relative to the installation's data folder, which all product lines share.

    Raises DomainPackError with every fault.
    """
    folder = shipped_packs().get(domain) or locate_pack(domain)
    if not (folder / PACK_FILE).is_file():
        raise DomainPackError(
            f"Domain pack {domain} not found: there is no {folder / PACK_FILE}. Shipped: {', '.join(shipped_packs())}. For your "
            "own, name a folder relative to the data folder, such as packs/claims."
        )
    return _read_pack(domain, folder, fingerprint_listing(folder))


def locate_pack(domain: str) -> Path:
    """The folder of a pack that is not shipped. One place for all lines, so that they can't differ in a pack of the same name."""
    return load_settings().installation.data_dir / Path(domain).expanduser()


@lru_cache(maxsize=16)
def _read_pack(domain: str, folder: Path, _listing: str) -> LoadedPack:
    try:
        values = load_values((folder / PACK_FILE).read_text(encoding="utf-8"))
    except DuplicateKeyError as error:
        raise DomainPackError(f"Domain pack {domain}: {error}. Keep one of the two.") from error
    except (ValueError, yaml.YAMLError) as error:
        raise DomainPackError(f"{PACK_FILE} of domain pack {domain} is not valid YAML: {error}") from error
    if removed := describe_removed_fields(values, PACK_FIELDS):
        raise DomainPackError(f"Domain pack {domain}: {removed}")
    try:
        return LoadedPack(domain, folder, TypeAdapter(DomainPack).validate_python(values))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'pack'}: {e['msg']}" for e in error.errors())
        raise DomainPackError(f"Domain pack {domain}: {faults}") from error
