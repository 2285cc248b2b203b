"""The locks in requirements/ follow pyproject.toml, and hold nothing that has to be built."""

import importlib.util
import re
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fine_tune_assets.core.extras import EXTRA_OF
from fine_tune_assets.core.paths import PROJECT_DIR

FOLDER = PROJECT_DIR / "requirements"
LOCKS = ("runtime", "extras", "dev", "torch-cpu", "torch-cuda")
PROJECT = tomllib.loads((PROJECT_DIR / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = ("3.11", "3.12", "3.13")
RUNTIME = ("runtime", "torch-cuda")
OTHER_ENVIRONMENTS = {"eval", "vllm"}
"""Extras for environments of their own, which follow no lock."""


@dataclass(frozen=True)
class Pin:
    name: str
    version: str
    marker: Marker | None
    hashes: int

    def holds_for(self, python: str) -> bool:
        there = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
        there |= {"platform_machine": "x86_64", "platform_system": "Linux", "implementation_name": "cpython"}
        return self.marker is None or self.marker.evaluate({**there, "extra": ""})


@cache
def _pins(lock: str) -> tuple[Pin, ...]:
    """Every line that names a package, with those that belong to it."""
    text = (FOLDER / f"{lock}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    return tuple(_pin(line) for line in text.splitlines() if line.strip() and not line.startswith("#"))


def _pin(line: str) -> Pin:
    requirement = Requirement(re.split(r"\s--hash=", line, maxsplit=1)[0].strip())
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", f"{requirement.name} is not pinned to one version"
    hashes = len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", line))
    return Pin(canonicalize_name(requirement.name), specifier.version, requirement.marker, hashes)


def _wrong(wanted: str, locks: tuple[str, ...], python: str) -> str:
    """Why a requirement of pyproject.toml is not met by these locks; empty if it is."""
    requirement = Requirement(wanted)
    name = canonicalize_name(requirement.name)
    found = [pin for lock in locks for pin in _pins(lock) if pin.name == name and pin.holds_for(python)]
    if len(found) != 1:
        return f"{wanted}: {len(found)} pins for Python {python} in {', '.join(locks)}"
    if not requirement.specifier.contains(found[0].version, prereleases=True):
        return f"{wanted}: pinned to {found[0].version}"
    return ""


def _lock_module(name: str = "lock") -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_python_whose_cpu_wheel_the_lock_does_not_know_gets_the_cuda_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else `make setup` ends in a hash mismatch where pip finds the CPU wheel first."""
    install = _lock_module("install")
    monkeypatch.setattr(sys, "version_info", (3, 12, 0))
    assert install.torch_lock("auto") == "torch-cuda"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_was_made_from_the_present_pyproject(lock: str) -> None:
    """A dependency that was added and not locked would be missing on every new machine. `make locks` updates all of them."""
    head = (FOLDER / f"{lock}.txt").read_text(encoding="utf-8").splitlines()[1]
    assert head == f"# made from {_lock_module().required()}"


@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_is_pinned_within_its_range(python: str) -> None:
    """For each Python that is supported, by exactly one version."""
    pins = (FOLDER / "pins.in").read_text(encoding="utf-8").splitlines()
    wanted = PROJECT["dependencies"] + [line for line in pins if line and not line.startswith("#")]
    assert len(wanted) > 50
    assert [why for one in wanted if (why := _wrong(one, RUNTIME, python))] == []


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("extra", sorted(set(PROJECT["optional-dependencies"]) - OTHER_ENVIRONMENTS))
def test_every_extra_is_pinned_within_its_range(extra: str, python: str) -> None:
    """What `make setup-extras` and `make setup-dev` install on top of what is there."""
    locks = (*RUNTIME, "extras", "dev") if extra == "dev" else (*RUNTIME, "extras")
    wanted = PROJECT["optional-dependencies"][extra]
    assert [why for one in wanted if (why := _wrong(one, locks, python))] == []


def test_both_builds_of_torch_are_the_same_version() -> None:
    """Otherwise a model would be measured with one and served by another."""
    (wanted,) = (one for one in PROJECT["dependencies"] if Requirement(one).name == "torch")
    versions = {pin.version for lock in ("torch-cpu", "torch-cuda") for pin in _pins(lock) if pin.name == "torch"}
    assert len(versions) == 1
    assert [_wrong(wanted, (lock,), "3.11") for lock in ("torch-cpu", "torch-cuda")] == ["", ""]


def test_a_disagreement_is_found() -> None:
    """The tests above must be able to fail: a range that excludes the pin, and a package that no lock names."""
    assert _wrong("dagster<1", RUNTIME, "3.11")
    assert _wrong("not-in-any-lock", RUNTIME, "3.11")


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_a_hash(lock: str) -> None:
    """pip refuses a lock in which a single one is missing."""
    assert [pin.name for pin in _pins(lock) if not pin.hashes] == []


def test_no_package_is_pinned_by_two_locks() -> None:
    """The second lock would replace what the first one installed. The two builds of torch exclude each other."""
    names = [name for lock in ("runtime", "extras", "dev", "torch-cuda") for name in {pin.name for pin in _pins(lock)}]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_no_lock_holds_what_has_to_be_built_or_is_never_used() -> None:
    """llama-cpp-python needs a compiler, rouge-score has no wheel; overrides.txt lists what is left out on purpose."""
    overrides = (FOLDER / "overrides.txt").read_text(encoding="utf-8").splitlines()
    excluded = {canonicalize_name(Requirement(line).name) for line in overrides if line and not line.startswith("#")}
    assert "llama-cpp-python" in excluded
    assert [pin.name for lock in LOCKS for pin in _pins(lock) if pin.name in excluded | {"rouge-score"}] == []


def test_the_command_that_errors_name_installs_every_extra() -> None:
    """`core.extras` promises that `make setup-extras` is enough."""
    extras = PROJECT["optional-dependencies"]
    assert set(EXTRA_OF.values()) <= set(_lock_module().EXTRAS) <= set(extras)
    for module, extra in EXTRA_OF.items():
        names = {canonicalize_name(Requirement(one).name) for one in extras[extra]}
        assert names & {canonicalize_name(module), f"{module}-skinny"}
