"""The system programs that some tests need: where they may be, and what to install.

A test without its program is skipped, and the run ends with a line for each missing program. With `CI` set it fails.
"""

import glob
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest


@dataclass(frozen=True)
class SystemProgram:
    name: str
    package: str
    """For `apt-get install`."""
    commands: tuple[str, ...]
    """Names on the path, in order of preference."""
    patterns: tuple[str, ...] = ()
    """Other places, as glob patterns; the newest version wins."""

    def find(self) -> str | None:
        """The program's absolute path; None if it is missing."""
        placed = [
            path for pattern in self.patterns for path in sorted(glob.glob(os.path.expanduser(pattern)), key=_version)
        ]
        on_path = next(filter(None, map(shutil.which, self.commands)), None)
        found = placed[-1] if placed else on_path
        return None if found is None else str(Path(found).resolve())


def _version(path: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path)]


CHROMIUM: Final = SystemProgram(
    "Chromium",
    "chromium",
    ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
    ("~/.cache/ms-playwright/chromium-*/chrome-linux*/chrome",),
)
POSTGRESQL: Final = SystemProgram("PostgreSQL", "postgresql", ("initdb",), ("/usr/lib/postgresql/*/bin/initdb",))
PGVECTOR: Final = SystemProgram(
    "pgvector", "postgresql-17-pgvector", (), ("/usr/share/postgresql/*/extension/vector.control",)
)
"""On Debian 13; it installs the server of that version."""
TESSERACT: Final = SystemProgram("Tesseract", "tesseract-ocr", ("tesseract",))
IPROUTE2: Final = SystemProgram("iproute2", "iproute2", ("ip",), ("/usr/sbin/ip", "/sbin/ip"))
NGINX: Final = SystemProgram("nginx", "nginx-light", ("nginx",), ("/usr/sbin/nginx",))
PROGRAMS: Final = (CHROMIUM, POSTGRESQL, PGVECTOR, TESSERACT, IPROUTE2, NGINX)
_MISSING: Final = "is missing: apt-get install"


def require_program(program: SystemProgram) -> str:
    """The program's path. Skips the test where it is missing; fails it in continuous integration."""
    found = program.find()
    if found is None:
        skip_without(program)
    assert found is not None
    return found


def skip_without(program: SystemProgram) -> None:
    message = f"{program.name} {_MISSING} {program.package}"
    pytest.fail(message) if is_continuous_integration() else pytest.skip(message)


def is_continuous_integration() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def count_by_missing_program(reports: Iterable[Any]) -> dict[SystemProgram, int]:
    """Skipped tests by the program that each lacked."""
    skipped = Counter(
        program
        for report in reports
        if isinstance(report.longrepr, tuple)
        for program in PROGRAMS
        if f"{program.name} {_MISSING}" in report.longrepr[2]
    )
    return {program: skipped[program] for program in PROGRAMS if program in skipped}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    missing = count_by_missing_program(terminalreporter.getreports("skipped"))
    if missing:
        terminalreporter.section("skipped without a system program")
    for program, count in missing.items():
        terminalreporter.write_line(f"{program.name}: {count} tests. To run them: apt-get install {program.package}")
