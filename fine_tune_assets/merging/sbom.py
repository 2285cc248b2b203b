"""The bill of materials of a release, as CycloneDX: the model and what it was made of, and the packages it was made with.

Owns its form. The same release gives the same bytes: no clock, no random serial number. It lists Python packages; of the
libraries that are compiled into them it knows what their packages say.
"""

import json
import platform
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Literal

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

_LONGEST_LICENCE = 100
"""Some packages put the whole text where the name belongs."""
_CLASSIFIER = "License :: "


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    licence: str
    """As the package states it; empty if it does not."""
    environment: str
    """`graph` for what made the release, `vllm` for what serves it."""


@dataclass(frozen=True)
class Material:
    """A model or a set of data."""

    kind: Literal["model", "data"]
    name: str
    fingerprint: str
    """SHA-256, by this project's rules, of the files or the rows."""
    licence: str
    """Empty where none is stated."""
    description: str


def installed_packages(environment: str, folders: Sequence[Path] | None = None) -> list[Package]:
    """Of this interpreter, or of the `site-packages` folders of another one."""
    found = distributions() if folders is None else distributions(path=[str(folder) for folder in folders])
    packages = {
        Package(one.name, one.version, _stated_licence(one), environment)
        for one in found
        if one.metadata["Name"]  # a package that was half removed has none
    }
    return sorted(packages, key=lambda package: (package.name.lower(), package.version))


def _stated_licence(distribution: Distribution) -> str:
    known = distribution.metadata.json
    stated = str(known.get("license_expression") or known.get("license") or "")
    if stated and len(stated) <= _LONGEST_LICENCE and "\n" not in stated:
        return stated
    named = [c.rpartition(" :: ")[2] for c in known.get("classifier", ()) if c.startswith(_CLASSIFIER)]
    return "; ".join(named)


def bill_of_materials(model: Material, materials: Sequence[Material], packages: Sequence[Package]) -> str:
    """CycloneDX 1.6 as JSON. `model` is what the release serves."""
    bom = Bom(
        components=[
            *(_material(one) for one in materials),
            *_packages(packages),
            Component(name="python", version=platform.python_version(), type=ComponentType.PLATFORM, bom_ref="python"),
        ]
    )
    bom.metadata.component = _material(model)
    bom.register_dependency(bom.metadata.component, bom.components)
    values = json.loads(JsonV1Dot6(bom).output_as_string())
    del values["metadata"]["timestamp"]
    named = json.dumps([values["metadata"], values["components"]], sort_keys=True)
    values["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, named)}"
    return json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False)


def _material(material: Material) -> Component:
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


def _packages(packages: Iterable[Package]) -> Iterator[Component]:
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


def _licences(stated: str) -> list[License]:
    return [LicenseFactory().make_from_string(stated)] if stated else []
