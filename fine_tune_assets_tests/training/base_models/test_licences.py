"""The licence of a model is found where models state it, and never made up."""

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
    """It is where models on hubs state it; a word such as `other` states nothing."""
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
def test_the_text_of_a_licence_is_on_record(tmp_path: Path, text: str, name: str) -> None:
    """Terms that nobody named are named by their hash: later it can be shown which ones they were."""
    (tmp_path / "LICENSE.txt").write_text(text)
    found = find_licence(tmp_path, stated="")
    assert found.name == name
    assert found.text_fingerprint == fingerprint_text(text)


def test_what_is_stated_goes_first(tmp_path: Path) -> None:
    """Whoever imports a model answers for it."""
    (tmp_path / "README.md").write_text(front_matter("license: mit"))
    assert find_licence(tmp_path, stated="apache-2.0").name == "Apache-2.0"
    assert find_licence(tmp_path, stated="unknown").name == "MIT"
