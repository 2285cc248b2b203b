"""The lock files in requirements/ match pyproject.toml and contain only packages with wheels."""

import importlib.util
import re
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fine_tune_assets.core.extras import EXTRA_BY_MODULE
from fine_tune_assets.core.paths import PROJECT_DIR

FOLDER = PROJECT_DIR / "requirements"
LOCKS = ("runtime", "extras", "dev", "torch-cpu", "torch-cuda")
PROJECT = tomllib.loads((PROJECT_DIR / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = ("3.11", "3.12", "3.13")
RUNTIME = ("runtime", "torch-cuda")
OTHER_ENVIRONMENTS = {"eval", "vllm"}
"""Extras for separate environments without a lock file."""
DEVELOPMENT_ONLY = {
    *(
        "dagster-cloud-cli",
        "dagster-dg-cli",
        "dagster-dg-core",
        "langchain-core",
        "langchain-openai",
        "langsmith",
        "openai",
    ),
    *("databricks-sdk", "mlflow-skinny", "playwright", "schemathesis"),
    *("id", "model-signing", "rfc3161-client", "sigstore", "tuf"),
}
"""Packages that exist to call services elsewhere, and what only tests use."""
LITTLE_KNOWN = PROJECT_DIR / "docs" / "explanation" / "threat-model.md"


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
    """Every pinned package with its hashes."""
    text = (FOLDER / f"{lock}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    return tuple(_pin(line) for line in text.splitlines() if line.strip() and not line.startswith("#"))


def _pin(line: str) -> Pin:
    requirement = Requirement(re.split(r"\s--hash=", line, maxsplit=1)[0].strip())
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", f"{requirement.name} is not pinned to one version"
    hashes = len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", line))
    return Pin(canonicalize_name(requirement.name), specifier.version, requirement.marker, hashes)


def _wrong(wanted: str, locks: tuple[str, ...], python: str) -> str:
    """Why these locks do not meet a requirement of pyproject.toml; empty if they do."""
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


def test_a_python_without_a_locked_cpu_wheel_gets_the_cuda_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise `make setup` fails with a hash mismatch if pip finds the CPU wheel first."""
    install = _lock_module("install")
    monkeypatch.setattr(sys, "version_info", (3, 12, 0))
    assert install.torch_lock("auto") == "torch-cuda"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_was_built_from_the_current_pyproject(lock: str) -> None:
    """An unlocked dependency would be missing on every new machine. `make locks` updates all locks."""
    head = (FOLDER / f"{lock}.txt").read_text(encoding="utf-8").splitlines()[1]
    assert head == f"# made from {_lock_module().required()}"


@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_is_pinned_within_its_range(python: str) -> None:
    """With exactly one version for each supported Python."""
    pins = (FOLDER / "pins.in").read_text(encoding="utf-8").splitlines()
    wanted = PROJECT["dependencies"] + [line for line in pins if line and not line.startswith("#")]
    assert len(wanted) > 50
    assert [why for one in wanted if (why := _wrong(one, RUNTIME, python))] == []


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("extra", sorted(set(PROJECT["optional-dependencies"]) - OTHER_ENVIRONMENTS))
def test_every_extra_is_pinned_within_its_range(extra: str, python: str) -> None:
    """For `make setup-extras` and `make setup-dev`."""
    locks = (*RUNTIME, "extras", "dev") if extra == "dev" else (*RUNTIME, "extras")
    wanted = PROJECT["optional-dependencies"][extra]
    assert [why for one in wanted if (why := _wrong(one, locks, python))] == []


def test_both_builds_of_torch_are_the_same_version() -> None:
    """Otherwise a model would be measured with one version and served with another."""
    (wanted,) = (one for one in PROJECT["dependencies"] if Requirement(one).name == "torch")
    versions = {pin.version for lock in ("torch-cpu", "torch-cuda") for pin in _pins(lock) if pin.name == "torch"}
    assert len(versions) == 1
    assert [_wrong(wanted, (lock,), "3.11") for lock in ("torch-cpu", "torch-cuda")] == ["", ""]


def test_a_mismatch_is_detected() -> None:
    """Proves that the tests above can fail: a range that excludes the pin, and an unlocked package."""
    assert _wrong("dagster<1", RUNTIME, "3.11")
    assert _wrong("not-in-any-lock", RUNTIME, "3.11")


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_a_hash(lock: str) -> None:
    """pip refuses a lock with a missing hash."""
    assert [pin.name for pin in _pins(lock) if not pin.hashes] == []


def test_no_package_is_pinned_by_two_locks() -> None:
    """The second lock would replace the first one's package. The two torch builds are alternatives."""
    names = [name for lock in ("runtime", "extras", "dev", "torch-cuda") for name in {pin.name for pin in _pins(lock)}]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_no_lock_contains_packages_without_wheels_or_excluded_ones() -> None:
    """llama-cpp-python needs a compiler, rouge-score has no wheel; overrides.txt lists the excluded packages."""
    overrides = (FOLDER / "overrides.txt").read_text(encoding="utf-8").splitlines()
    excluded = {canonicalize_name(Requirement(line).name) for line in overrides if line and not line.startswith("#")}
    assert "llama-cpp-python" in excluded
    assert [pin.name for lock in LOCKS for pin in _pins(lock) if pin.name in excluded | {"rouge-score"}] == []


def test_no_package_that_exists_to_call_out_is_installed() -> None:
    """What is not there can't send a report to its maker, whatever an environment variable says."""
    assert {pin.name for pin in _pins("runtime")} & DEVELOPMENT_ONLY == set()


def test_the_development_only_packages_are_locked_for_tests() -> None:
    """So that a misspelt or renamed one does not pass the test above for ever."""
    assert {pin.name for lock in ("extras", "dev") for pin in _pins(lock)} >= DEVELOPMENT_ONLY


def test_every_listed_little_known_package_is_installed() -> None:
    """The page names packages of single maintainers with a reason. It goes stale when one is replaced."""
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", LITTLE_KNOWN.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(rows) > 5
    assert set(rows) <= {pin.name for pin in _pins("runtime")}


def test_setup_extras_installs_every_extra_named_in_errors() -> None:
    """`core.extras` names `make setup-extras` in its error."""
    extras = PROJECT["optional-dependencies"]
    assert set(EXTRA_BY_MODULE.values()) <= set(_lock_module().EXTRAS) <= set(extras)
    for module, extra in EXTRA_BY_MODULE.items():
        names = {canonicalize_name(Requirement(one).name) for one in extras[extra]}
        assert names & {canonicalize_name(module), f"{module}-skinny"}


@pytest.mark.slow
def test_an_installation_has_byte_code_even_if_the_environment_forbids_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service's user can't write to the environment: each start would compile Dagster and Presidio again."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path))
    _lock_module("install").compile_modules()
    compiled = {path.parent.name for path in tmp_path.rglob("__init__.*.pyc")}
    assert {"dagster", "presidio_analyzer", "transformers", "trl", "fastapi"} <= compiled
