"""Lists and packs the wheels that a target machine lacks: `python -m benchmarks.gpu_proof.wheels list|pack --target FILE`.

Finds what each slice needs, with its dependencies, in the versions of this environment; downloads wheels for Python 3.12 on Linux
x86-64 with pip; leaves other CUDA versions' libraries out; and packs all of them in parts of at most 20 MB, which
`wheel_parts` joins on the target.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.gpu_proof.slices import SLICES
from benchmarks.gpu_proof.wheel_parts import PART_BYTES, pack_parts, slim_wheel

HERE = Path(__file__).parent
TARGET_PYTHON = "3.12"
_ENVIRONMENT = {
    "python_version": TARGET_PYTHON,
    "python_full_version": f"{TARGET_PYTHON}.0",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
    "os_name": "posix",
    "extra": "",
}
_GLIBC = ("_2_34", "_2_31", "_2_28", "_2_27", "_2_24", "_2_17", "2014", "1")
"""Versions of manylinux; pip matches them exactly."""
PROJECT = "fine_tune_assets"
_SMALL_BYTES = 4_000_000
"""Installed."""


@dataclass(frozen=True)
class MissingPackage:
    name: str
    version: str
    slices: tuple[str, ...]
    reason: str
    """Why the target needs it: it lacks it, or its version is too old or too new."""


def read_needs() -> dict[str, Any]:
    return dict(json.loads((HERE / "needs.json").read_text(encoding="utf-8")))


def read_target(path: Path) -> dict[str, str | None]:
    """Distribution → version, None if it is unknown."""
    found: dict[str, str | None] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, known = line.partition("#")[0].strip().partition("==")
        if name:
            found[canonicalize_name(name)] = known or None
    return found


def find_missing(
    target: Mapping[str, str | None], slices: Iterable[str], needs: Mapping[str, Any]
) -> list[MissingPackage]:
    """What the slices need, directly or not, and the target lacks."""
    wanted: dict[str, list[str]] = {}
    reasons: dict[str, str] = {}
    for name in slices:
        for package, reason in _walk([*needs["common"], *needs["slices"][name]], target, needs["not_used"]).items():
            wanted.setdefault(package, []).append(name)
            reasons[package] = reason
    return [
        MissingPackage(package, version(package), tuple(used), reasons[package])
        for package, used in sorted(wanted.items())
    ]


def _walk(roots: Sequence[str], target: Mapping[str, str | None], not_used: Mapping[str, str]) -> dict[str, str]:
    """Package to carry → reason. What the target has in a fitting version is not followed further."""
    limits = _project_limits()
    found: dict[str, str] = {}
    waiting = [limits.get(canonicalize_name(name)) or Requirement(name) for name in roots]
    while waiting:
        required = waiting.pop()
        name = canonicalize_name(required.name)
        if name in not_used or name in found:
            continue
        reason = _why_carried(required, target)
        if not reason:
            continue
        found[name] = reason
        waiting += [
            one
            for one in map(Requirement, _requirements(name))
            if one.marker is None or one.marker.evaluate(_ENVIRONMENT)
        ]
    return found


def _requirements(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError:
        return []


def _project_limits() -> dict[str, Requirement]:
    """Versions that the product was tested with."""
    declared = map(Requirement, requires(PROJECT) or [])
    return {canonicalize_name(one.name): one for one in declared}


def _why_carried(required: Requirement, target: Mapping[str, str | None]) -> str:
    name = canonicalize_name(required.name)
    if name not in target:
        return "not installed"
    known = target[name]
    if known is None:
        return "its version is unknown" if required.specifier and _is_small(name) else ""
    return "" if required.specifier.contains(known, prereleases=True) else f"{known} instead of {required.specifier}"


def _is_small(name: str) -> bool:
    """Whether it is carried rather than trusted to have a fitting version on the target."""
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        return False
    return sum(file.size or 0 for file in files) < _SMALL_BYTES


def download(packages: Sequence[MissingPackage], folder: Path) -> dict[str, Path | str]:
    """Package → its wheel in `folder`, or why there is none."""
    found: dict[str, Path | str] = {}
    for package in packages:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            done = subprocess.run(
                _download_command(package, Path(scratch)), capture_output=True, text=True, check=False
            )
            wheels = list(Path(scratch).glob("*.whl"))
            if done.returncode or len(wheels) != 1:
                lines = done.stderr.strip().splitlines()
                found[package.name] = (
                    re.sub(r"\s+", " ", lines[-1])[:200] if lines else f"exit status {done.returncode}"
                )
            else:
                found[package.name] = slim_wheel(wheels[0], folder / wheels[0].name)
    return found


def _download_command(package: MissingPackage, folder: Path) -> list[str]:
    platforms = [word for glibc in _GLIBC for word in ("--platform", f"manylinux{glibc}_x86_64")]
    return [
        sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps", "--only-binary=:all:",
        "--python-version", TARGET_PYTHON, "--implementation", "cp", *platforms, "--dest", str(folder),
        f"{package.name}=={package.version}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("list", "pack"))
    parser.add_argument("--slices", nargs="*", default=list(SLICES), choices=list(SLICES))
    parser.add_argument(
        "--target", type=Path, default=HERE / "target_packages.txt", help="what the target has, from probe.py"
    )
    parser.add_argument("--out", type=Path, default=Path("build/gpu-proof/wheels"), help="folder of wheels and parts")
    parser.add_argument("--offline", action="store_true", help="list names and versions without downloading")
    given = parser.parse_args()
    missing = find_missing(read_target(given.target), given.slices, read_needs())
    given.out.mkdir(parents=True, exist_ok=True)
    wheels = {} if given.offline else download(missing, given.out)
    for package in missing:
        wheel = wheels.get(package.name)
        size = (
            f"{wheel.stat().st_size / 1e6:.1f} MB" if isinstance(wheel, Path) else f"no wheel: {wheel}" if wheel else ""
        )
        print(f"{package.name}=={package.version}\t{size}\t{package.reason}\t{', '.join(package.slices)}")
    carried = [wheel for wheel in wheels.values() if isinstance(wheel, Path)]
    print(f"{len(missing)} packages, {sum(wheel.stat().st_size for wheel in carried) / 1e6:.1f} MB")
    if given.action == "pack":
        for part in pack_parts(carried, given.out / "parts", PART_BYTES):
            print(f"{part.name}\t{part.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
