"""Writes the lock files in this folder from pyproject.toml: exact versions with hashes, wheels only. Run it with `make locks`.

`runtime.txt` is what the demo and a production installation need, `extras.txt` what the extras add, `dev.txt` what tests and
checks add. torch is apart, with one lock for each build. Needs uv on PATH and a package index.
"""

import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parent / "pyproject.toml"
EXTRAS = ("qlora", "tagger", "mlflow", "ray")
TORCH = "2.13.0"
CPU_WHEELS = ("981442fab184a8791f7724dda9196ffa723bb038c6059d1b04b5f80196e746a6",)
"""SHA-256 of PyTorch's CPU wheels for Linux x86-64 that were installed with these locks (Python 3.11). PyTorch publishes them on
a separate index; for another Python, add the hash that is listed there."""
TORCH_ONLY = ("torch", "triton", "nvidia-", "cuda-")
Blocks = dict[str, str]
"""Package → its lines in a lock."""


def main() -> None:
    runtime = compiled()
    extras = compiled(*EXTRAS, within=runtime)
    dev = compiled(*EXTRAS, "dev", within=extras)
    write("runtime.txt", {name: block for name, block in runtime.items() if not is_torch(name)})
    write("extras.txt", {name: block for name, block in extras.items() if name not in runtime and not is_torch(name)})
    write("dev.txt", {name: block for name, block in dev.items() if name not in extras and not is_torch(name)})
    write("torch-cuda.txt", {name: block for name, block in runtime.items() if is_torch(name)})
    hashes = " \\\n".join(f"    --hash=sha256:{value}" for value in CPU_WHEELS)
    write("torch-cpu.txt", {"torch": f"torch=={TORCH} \\\n{hashes}\n"})


def compiled(*extras: str, within: Blocks | None = None) -> Blocks:
    """Every package that the project with `extras` needs, in the versions of `within` where they are named there."""
    known = HERE / ".within.txt"
    known.write_text("".join((within or {"torch": f"torch=={TORCH}\n"}).values()), encoding="utf-8")
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--only-binary", ":all:"]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "--constraint", str(known)]
    command += ["--override", str(HERE / "overrides.txt"), *(word for extra in extras for word in ("--extra", extra))]
    try:
        done = subprocess.run(
            [*command, str(PROJECT), str(HERE / "pins.in")], check=True, stdout=subprocess.PIPE, text=True
        )
    finally:
        known.unlink()
    return blocks(done.stdout)


def blocks(text: str) -> Blocks:
    """A lock, cut into packages. One that has several versions, by Python, is one block."""
    found: Blocks = {}
    name = ""
    for line in text.splitlines(keepends=True):
        if not line.startswith((" ", "#")):
            name = line.split("==")[0].split("[")[0].strip()
        found[name] = found.get(name, "") + line
    return found


def is_torch(name: str) -> bool:
    return name.startswith(TORCH_ONLY)


def required() -> str:
    """Fingerprint of what the locks were made from."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    wanted = [project["requires-python"], project["dependencies"], project["optional-dependencies"]]
    wanted += [(HERE / name).read_text(encoding="utf-8") for name in ("pins.in", "overrides.txt")]
    return hashlib.sha256(json.dumps(wanted).encode()).hexdigest()


def write(name: str, found: Blocks) -> None:
    head = f"# Made by `make locks`. Do not edit.\n# made from {required()}\n"
    (HERE / name).write_text(head + "".join(found[key] for key in sorted(found)), encoding="utf-8")
    print(f"{name}: {len(found)} packages")


if __name__ == "__main__":
    sys.exit(main())
