"""What a bare target lacks even with every packed wheel, for `bare_target/sitecustomize.py`."""

from importlib.metadata import PackageNotFoundError, distributions, packages_distributions, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.gpu_proof.slices import SLICES
from benchmarks.gpu_proof.wheels import HERE, PROJECT, find_missing, read_needs, read_target

PROJECT_NAME = canonicalize_name(PROJECT)


def hidden_modules() -> list[str]:
    """Top-level modules of this environment that belong to no package of the target."""
    known = {*_known_packages(), PROJECT_NAME}  # the repository is carried
    return [
        module
        for module, names in packages_distributions().items()
        if not any(canonicalize_name(name) in known for name in names)
    ]


def hidden_packages() -> list[str]:
    """Installed packages whose version can't be read on the target. The project is one, because only its folder is there."""
    known = _known_packages()
    names = {canonicalize_name(one.metadata["Name"]) for one in distributions()}
    return sorted(names - known)


def _known_packages() -> set[str]:
    """Packages of the target and the packed wheels, with their dependencies."""
    needs, target = read_needs(), read_target(HERE / "target_packages.txt")
    waiting = [*target, *(package.name for package in find_missing(target, SLICES, needs)), "setuptools"]
    known = set[str](needs["not_used"])
    while waiting:
        name = waiting.pop()
        if name not in known:
            known.add(name)
            waiting += _dependencies(name)
    return known - (needs["not_used"].keys() - target.keys())


def _dependencies(name: str) -> list[str]:
    """Versions here may have other dependencies than the target's."""
    try:
        stated = map(Requirement, requires(name) or [])
    except PackageNotFoundError:
        return []
    return [canonicalize_name(one.name) for one in stated if one.marker is None or one.marker.evaluate({"extra": ""})]
