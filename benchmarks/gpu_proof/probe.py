"""Says what a machine has, as lines for `target_packages.txt`: `python3 probe.py`. Needs Python alone.

Comment lines hold Python, platform, GPU and CUDA; every other line is an installed distribution with its version.
"""

import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import distributions


def describe() -> list[str]:
    return [
        f"# Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        *_describe_gpu(),
        *_list_packages(),
    ]


def _describe_gpu() -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ["# no nvidia-smi"]
    command = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return [f"# GPU: {line.strip()}" for line in done.stdout.splitlines()] or [
        f"# nvidia-smi: exit status {done.returncode}"
    ]


def _list_packages() -> list[str]:
    found = {}
    for one in distributions():
        if one.metadata["Name"]:
            found[re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower()] = one.version
    return [f"{name}=={version}" for name, version in sorted(found.items())]


if __name__ == "__main__":
    sys.stdout.write("\n".join(describe()) + "\n")
