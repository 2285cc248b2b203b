"""Finds the licence of a model: stated by the importer, by the front matter of README.md, or by a licence file.

A name is an SPDX id, or `LicenseRef-…` for a licence that SPDX does not list. Does not judge what a licence allows.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from fine_tune_assets.core.fingerprints import fingerprint_file, short
from fine_tune_assets.core.strict_parsing import load_values

_FILES = ("LICENSE", "LICENCE", "COPYING")
_TEXTS = (
    (r"Apache License\s+Version 2\.0", "Apache-2.0"),
    (r"Permission is hereby granted, free of charge", "MIT"),
    (r"Redistribution and use in source and binary forms", "BSD-3-Clause"),
    (r"LLAMA (\d[\d.]*) COMMUNITY LICENSE AGREEMENT", "LicenseRef-Llama-{0}-Community"),
    (r"Gemma Terms of Use", "LicenseRef-Gemma"),
)
"""Text near the beginning of a licence, and the licence's name."""
_SPDX = {
    "apache-2.0": "Apache-2.0", "mit": "MIT", "bsd-3-clause": "BSD-3-Clause", "cc-by-4.0": "CC-BY-4.0",
    "cc-by-sa-4.0": "CC-BY-SA-4.0", "cc-by-nc-4.0": "CC-BY-NC-4.0", "cc0-1.0": "CC0-1.0", "gpl-3.0": "GPL-3.0-only",
    "unlicense": "Unlicense",
}  # fmt: skip
_MAX_FRONT_MATTER_CHARACTERS = 100_000
_UNKNOWN = {"", "none", "unknown", "other", "null", "noassertion"}


@dataclass(frozen=True)
class Licence:
    name: str
    """Empty if unknown."""
    text_fingerprint: str
    """SHA-256 of the licence's text; empty if the folder has none."""


def find_licence(folder: Path, stated: str) -> Licence:
    """In order of precedence: `stated`, the front matter of README.md, the text of a licence file."""
    text = next((p for p in sorted(folder.iterdir()) if p.is_file() and p.name.upper().startswith(_FILES)), None)
    fingerprint = fingerprint_file(text) if text else ""
    name = spdx_name(stated) or _read_front_matter(folder / "README.md")
    return Licence(name or (_identify_text(text) if text else ""), fingerprint)


def spdx_name(stated: str) -> str:
    """The SPDX spelling of a common name; empty for words such as `other` that name no licence."""
    name = " ".join(stated.split())
    return "" if name.lower() in _UNKNOWN else _SPDX.get(name.lower(), name)


def _read_front_matter(readme: Path) -> str:
    if not readme.is_file():
        return ""
    parts = readme.read_text(encoding="utf-8", errors="replace").split("---\n", 2)
    if len(parts) < 3 or parts[0].strip() or len(parts[1]) > _MAX_FRONT_MATTER_CHARACTERS:
        return ""
    try:
        values = load_values(parts[1])
    except (ValueError, yaml.YAMLError):
        return ""
    if not isinstance(values, dict):
        return ""
    name, own_name = (str(v) if isinstance(v, str) else "" for v in map(values.get, ("license", "license_name")))
    if spdx_name(name) in _SPDX.values():
        return spdx_name(name)
    name = spdx_name(name) or spdx_name(own_name)
    return f"LicenseRef-{re.sub(r'[^A-Za-z0-9.-]+', '-', name)}" if name else ""


def _identify_text(file: Path) -> str:
    start = file.read_text(encoding="utf-8", errors="replace")[:4000]
    for pattern, name in _TEXTS:
        found = re.search(pattern, start)
        if found:
            return name.format(*found.groups())
    return f"LicenseRef-{short(fingerprint_file(file))}"
