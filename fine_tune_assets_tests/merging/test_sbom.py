"""The bill of materials is valid CycloneDX, complete and reproducible."""

import json
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from fine_tune_assets.merging.sbom import Material, bill_of_materials, installed_packages
from fine_tune_assets_tests.merging.whole_release import sbom

VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)
MODEL = Material("model", "demo", "c" * 64, "LicenseRef-llama3", "Served model")


def test_the_sbom_is_valid_and_lists_every_installed_package() -> None:
    """Third-party tools read it. The validator must also be able to fail."""
    text = bill_of_materials(MODEL, [], installed_packages("graph"))
    assert VALIDATOR.validate_str(text) is None
    assert VALIDATOR.validate_str(text.replace('"libraries"', '"x"').replace('"library"', '"no such type"')) is not None
    names = {component["name"].lower() for component in json.loads(text)["components"]}
    assert {"torch", "dagster", "model-signing", "python"} <= names


def test_the_sbom_lists_models_data_and_packages_with_licences() -> None:
    """A licence outside SPDX keeps its stated name."""
    values = json.loads(sbom())
    assert VALIDATOR.validate_str(sbom()) is None
    served = values["metadata"]["component"]
    assert (served["type"], served["hashes"]) == ("machine-learning-model", [{"alg": "SHA-256", "content": "c" * 64}])
    by_ref = {component["bom-ref"]: component for component in values["components"]}
    assert by_ref["data:dolly:"]["type"] == "data"
    assert by_ref["data:dolly:"]["licenses"] == [{"license": {"name": "CC BY-SA 3.0"}}]
    assert by_ref["graph:pkg:pypi/torch@2.11.0"]["licenses"] == [{"license": {"id": "BSD-3-Clause"}}]
    assert by_ref["graph:pkg:pypi/orjson@3.1"]["licenses"] == [{"expression": "MPL-2.0 AND (Apache-2.0 OR MIT)"}]
    assert "licenses" not in by_ref["vllm:pkg:pypi/torch@2.11.0"]


def test_the_same_release_gives_the_same_bytes() -> None:
    """It is part of the release id: a clock or random number would make every build a new release."""
    assert sbom() == sbom()
    assert bill_of_materials(MODEL, [], []) != bill_of_materials(MODEL, [MODEL], [])


def test_packages_of_another_environment_are_read(tmp_path: Path) -> None:
    """vLLM has its own environment; an empty folder has no packages."""
    folder = tmp_path / "seen-1.2.dist-info"
    folder.mkdir()
    text = "Metadata-Version: 2.1\nName: seen\nVersion: 1.2\nLicense: This is\n the full text\n" + (
        "Classifier: License :: OSI Approved :: MIT License\n"
    )
    (folder / "METADATA").write_text(text, encoding="utf-8")
    (package,) = installed_packages("vllm", [tmp_path])
    assert (package.name, package.version, package.licence, package.environment) == (
        "seen",
        "1.2",
        "MIT License",
        "vllm",
    )
    assert installed_packages("vllm", []) == []
