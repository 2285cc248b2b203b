"""Installs locks from this folder into the environment that runs it: `install.py [torch=cpu|cuda|auto] LOCK…`.

Every file is checked against its hash, and nothing is built. Needs pip alone.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
LOCKED = ["install", "--require-hashes", "--no-deps", "--no-compile", "--only-binary", ":all:"]


LOADED = """
from importlib import import_module
from fine_tune_assets.defs.platform.resources import SCRUBBING_PRELOADS, WORKER_PRELOADS
services = ("cli.main", "definitions", "gateway.gateway_app", "desk.desk_app")
for name in (*(f"fine_tune_assets.{service}" for service in services), *SCRUBBING_PRELOADS, *WORKER_PRELOADS):
    import_module(name)
"""


def main(words: list[str]) -> None:
    began = time.monotonic()
    locks = [name for word in words for name in ([torch_lock(word[6:])] if word.startswith("torch=") else [word])]
    for name in locks:
        install(HERE / f"{name}.txt")
    project = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", str(HERE.parent)]
    subprocess.run([*PIP, *project], check=True)
    if "runtime" in locks:
        compile_modules()
    print(f"Installed {', '.join(locks)} in {time.monotonic() - began:.0f} s.")


def torch_lock(build: str) -> str:
    """`auto` takes the build that pip would: PyPI serves the one for CUDA, an index for CPU wheels the small one. Of that, the
    lock knows the wheel for Python 3.11."""
    if build == "auto" and sys.version_info[:2] != (3, 11):
        build = "cuda"
    if build == "auto":
        pin = (HERE / "torch-cpu.txt").read_text(encoding="utf-8").split("torch==")[1].split()[0]
        asked = [
            *PIP,
            "install",
            "--dry-run",
            "--quiet",
            "--ignore-installed",
            "--no-deps",
            "--report",
            "-",
            f"torch=={pin}",
        ]
        report = json.loads(subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True).stdout)
        build = "cpu" if report["install"][0]["metadata"]["version"].endswith("+cpu") else "cuda"
    return f"torch-{build}"


def install(lock: Path) -> None:
    """With a count of packages instead of pip's hundreds of lines. Its last lines are shown if it fails."""
    total = len(re.findall(r"^[a-z0-9]", lock.read_text(encoding="utf-8"), flags=re.MULTILINE | re.IGNORECASE))
    command = [*PIP, *LOCKED, "--progress-bar", "off", "-r", str(lock)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    done, lines = 0, []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(("Collecting ", "Requirement already satisfied")):
            done += 1
            show(f"{lock.stem}: {min(done, total)} of {total} packages")
        elif line.startswith("Installing collected"):
            show(f"{lock.stem}: writing {total} packages")
    if process.wait():
        print()
        sys.exit("".join(lines[-15:]))
    print(f"\r{lock.stem}: {total} packages".ljust(60))


def compile_modules() -> None:
    """Write the byte code of the modules that the platform loads, because a service's user may not write to the environment:
    each process would compile them again. All files of the environment would take 80 s of CPU."""
    show("byte code of the loaded modules")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", LOADED], env=environment, check=True)


def show(text: str) -> None:
    """On a terminal one line that changes; elsewhere nothing, since the result is printed at the end."""
    if sys.stdout.isatty():
        print(f"\r{text}".ljust(60), end="", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
