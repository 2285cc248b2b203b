"""A model's licence is read from where models state it, and never invented."""

from pathlib import Path

import pytest

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.training.base_models.licences import find_licence


def front_matter(*lines: str) -> str:
    return "\n".join(["---", *lines, "---", "# A model"])


@pytest.mark.parametrize(
    ("readme", "name"),
    [
        (front_matter("license: apache-2.0"), "Apache-2.0"),
        (front_matter("license: llama3.1"), "LicenseRef-llama3.1"),
        (front_matter("license: other", "license_name: our own terms"), "LicenseRef-our-own-terms"),
        (front_matter("license: other"), ""),
        (front_matter("license: [mit]"), ""),
        (front_matter("license: 'unterminated"), ""),
        ("# A model\nlicense: mit", ""),
        ("", ""),
    ],
)
def test_the_front_matter_of_a_readme_is_read(tmp_path: Path, readme: str, name: str) -> None:
    """Models on hubs state their licence there; a word such as `other` states none."""
    (tmp_path / "README.md").write_text(readme)
    assert find_licence(tmp_path, stated="").name == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("   Apache License\n   Version 2.0, January 2004", "Apache-2.0"),
        ("MIT License\n\nPermission is hereby granted, free of charge, to any", "MIT"),
        ("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\n", "LicenseRef-Llama-3.1-Community"),
        ("Our very own terms", f"LicenseRef-{fingerprint_text('Our very own terms')[:16]}"),
    ],
)
def test_a_licence_file_is_identified_by_its_text(tmp_path: Path, text: str, name: str) -> None:
    """Unknown terms are named by their hash, so that they can be identified later."""
    (tmp_path / "LICENSE.txt").write_text(text)
    found = find_licence(tmp_path, stated="")
    assert found.name == name
    assert found.text_fingerprint == fingerprint_text(text)


def test_the_stated_licence_takes_precedence(tmp_path: Path) -> None:
    """The importer is responsible for it."""
    (tmp_path / "README.md").write_text(front_matter("license: mit"))
    assert find_licence(tmp_path, stated="apache-2.0").name == "Apache-2.0"
    assert find_licence(tmp_path, stated="unknown").name == "MIT"
