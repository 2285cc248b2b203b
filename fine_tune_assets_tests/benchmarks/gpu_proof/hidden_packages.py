"""The modules that a bare target lacks even with every packed wheel, for `bare_target/sitecustomize.py`."""

from importlib.metadata import PackageNotFoundError, packages_distributions, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.gpu_proof.slices import SLICES
from benchmarks.gpu_proof.wheels import HERE, PROJECT, find_missing, read_needs, read_target


def hidden_modules() -> list[str]:
    """Top-level modules of this environment that neither the target has, nor the packed wheels, nor their dependencies."""
    needs, target = read_needs(), read_target(HERE / "target_packages.txt")
    waiting = [*target, *(package.name for package in find_missing(target, SLICES, needs)), "setuptools"]
    known = {canonicalize_name(PROJECT), *needs["not_used"]}
    while waiting:
        name = waiting.pop()
        if name not in known:
            known.add(name)
            waiting += _dependencies(name)
    known -= needs["not_used"].keys() - target.keys()
    return [
        module
        for module, names in packages_distributions().items()
        if not any(canonicalize_name(name) in known for name in names)
    ]


def _dependencies(name: str) -> list[str]:
    """Versions here may have other dependencies than the target's."""
    try:
        stated = map(Requirement, requires(name) or [])
    except PackageNotFoundError:
        return []
    return [canonicalize_name(one.name) for one in stated if one.marker is None or one.marker.evaluate({"extra": ""})]
