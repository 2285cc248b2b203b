"""Slice `gpu_tests`: the tests marked `gpu`. A dry run only collects them, because they are about a card."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from benchmarks.gpu_proof.origin import ROOT
from benchmarks.gpu_proof.results import Figures, SliceRun, is_importable

TESTS = "fine_tune_assets_tests"
_MARK = re.compile(r"pytest\.mark\.gpu\b")
_PLUGINS = ("fine_tune_assets_tests.base_model",)
"""Modules with fixtures that the tests use. The shared conftest is not loaded, because it imports Dagster."""


def run(proof: SliceRun, scratch: Path) -> None:
    for path in marked_files(ROOT):
        proof.part(path.stem, lambda p=path: run_file(p, scratch, proof), modules=("pytest",), minimum_seconds=30)


def marked_files(root: Path) -> list[Path]:
    """Files with tests marked `gpu`."""
    return [
        path for path in sorted((root / TESTS).rglob("test_*.py")) if _MARK.search(path.read_text(encoding="utf-8"))
    ]


def pytest_command(path: Path, report: Path, dry: bool) -> list[str]:
    timeout = ["pytest_timeout"] if is_importable("pytest_timeout") else []
    plugins = [word for plugin in (*_PLUGINS, *timeout) for word in ("-p", plugin)]
    return [
        sys.executable, "-m", "pytest", str(path), "-m", "gpu", "-q", "-c", str(Path(__file__).with_name("gpu_tests.ini")),
        "--rootdir", str(ROOT), "--confcutdir", str(path.parent), *plugins, f"--junitxml={report}",
        *(["--collect-only"] if dry else []),
    ]  # fmt: skip


def run_file(path: Path, scratch: Path, proof: SliceRun) -> Figures:
    report = scratch / f"{path.stem}.xml"
    report.unlink(missing_ok=True)
    search = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    done = subprocess.run(
        pytest_command(path, report, proof.dry),
        cwd=ROOT,
        # Other plugins may need packages that are missing.
        env={**os.environ, "PYTHONPATH": search, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=max(1.0, proof.seconds_left),
    )
    missing = re.search(r"No module named '([^']+)'", done.stdout)
    if done.returncode == 2 and missing:
        raise ModuleNotFoundError(name=missing[1])
    if proof.dry:
        found = re.search(r"^(\d+)(?:/\d+)? tests? collected", done.stdout, re.MULTILINE)
        if done.returncode or found is None:
            raise RuntimeError(f"The tests were not collected (exit status {done.returncode}).")
        return {"collected": int(found[1])}
    if not report.is_file():
        raise RuntimeError(f"pytest wrote no report (exit status {done.returncode}).")
    found = read_report(report)
    if found["failed"] or not found["tests"]:
        raise RuntimeError(f"{len(found['failed'])} of {found['tests']} tests failed: {', '.join(found['failed'])}")
    return found


def read_report(path: Path) -> Figures:
    """Counts, and the names of the tests that did not pass."""
    cases = list(ElementTree.parse(path).iter("testcase"))
    outcomes = {"failed": ("failure", "error"), "skipped": ("skipped",)}
    named = {
        outcome: sorted(case.attrib["name"] for case in cases if any(case.find(tag) is not None for tag in tags))
        for outcome, tags in outcomes.items()
    }
    return {"tests": len(cases), "passed": len(cases) - sum(map(len, named.values())), **named}
