"""Builds a release's bill of materials in CycloneDX: the model, the materials it was made of, and Python packages.

Without clock and random serial number, so the same release gives the same bytes. Compiled libraries are covered only as far as
their Python packages declare them.
"""

import json
import platform
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from packageurl import PackageURL

if TYPE_CHECKING:  # imported where it is used: every process of the graph loads this module
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License

_MAX_LICENCE_CHARACTERS = 100
"""Some packages put the full licence text into the name field."""
_CLASSIFIER = "License :: "


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    licence: str
    """As declared by the package; may be empty."""
    environment: str
    """`graph` for packages that made the release, `vllm` for those that serve it."""


@dataclass(frozen=True)
class Material:
    """A model or a data set."""

    kind: Literal["model", "data"]
    name: str
    fingerprint: str
    """SHA-256 of the files or rows, as this project computes it."""
    licence: str
    """May be empty."""
    description: str


def installed_packages(environment: str, folders: Sequence[Path] | None = None) -> list[Package]:
    """Packages of this interpreter, or of another one's `site-packages` folders."""
    installed = distributions() if folders is None else distributions(path=[str(folder) for folder in folders])
    packages = {
        Package(one.name, one.version, _stated_licence(one), environment)
        for one in installed
        if one.metadata["Name"]  # partially removed packages have no name
    }
    return sorted(packages, key=lambda package: (package.name.lower(), package.version))


def _stated_licence(distribution: Distribution) -> str:
    known = distribution.metadata.json
    stated = str(known.get("license_expression") or known.get("license") or "")
    if stated and len(stated) <= _MAX_LICENCE_CHARACTERS and "\n" not in stated:
        return stated
    named = [c.rpartition(" :: ")[2] for c in known.get("classifier", ()) if c.startswith(_CLASSIFIER)]
    return "; ".join(named)


def bill_of_materials(model: Material, materials: Sequence[Material], packages: Sequence[Package]) -> str:
    """Return CycloneDX 1.6 JSON. `model` is the served model."""
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    bom = Bom(
        components=[
            *(_material_component(one) for one in materials),
            *_package_components(packages),
            Component(name="python", version=platform.python_version(), type=ComponentType.PLATFORM, bom_ref="python"),
        ]
    )
    bom.metadata.component = _material_component(model)
    bom.register_dependency(bom.metadata.component, bom.components)
    values = json.loads(JsonV1Dot6(bom).output_as_string())
    del values["metadata"]["timestamp"]
    named = json.dumps([values["metadata"], values["components"]], sort_keys=True)
    values["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, named)}"
    return json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False)


def _material_component(material: Material) -> "Component":
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    kind = ComponentType.MACHINE_LEARNING_MODEL if material.kind == "model" else ComponentType.DATA
    return Component(
        name=material.name,
        type=kind,
        version=material.fingerprint[:16] or None,
        bom_ref=f"{material.kind}:{material.name}:{material.fingerprint[:16]}",
        description=material.description,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=material.fingerprint)] if material.fingerprint else (),
        licenses=_licences(material.licence),
    )


def _package_components(packages: Iterable[Package]) -> "Iterator[Component]":
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType

    for package in packages:
        purl = PackageURL(type="pypi", name=package.name, version=package.version)
        yield Component(
            name=package.name,
            version=package.version,
            type=ComponentType.LIBRARY,
            purl=purl,
            bom_ref=f"{package.environment}:{purl.to_string()}",
            licenses=_licences(package.licence),
            properties=[Property(name="fine_tune_assets:environment", value=package.environment)],
        )


def _licences(stated: str) -> "list[License]":
    from cyclonedx.contrib.license.factories import LicenseFactory

    return [LicenseFactory().make_from_string(stated)] if stated else []
