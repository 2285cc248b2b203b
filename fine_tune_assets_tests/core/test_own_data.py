"""What a user puts into the checkout stays out of its history."""

import subprocess

import pytest

from fine_tune_assets.core.paths import PROJECT_DIR


@pytest.mark.skipif(not (PROJECT_DIR / ".git").exists(), reason="Not a Git checkout.")
@pytest.mark.parametrize(
    "path",
    [
        "raw_reports/2026-05-ward/note.txt",
        "knowledge/rules.md",
        "general/own.jsonl",
        "evaluation/phi/own.jsonl",
        "keys/releases.key",
    ],
)
def test_git_ignores_data_of_your_own(path: str) -> None:
    """`git add .` in a checkout with patients' reports would publish them with the next push."""
    subprocess.run(["git", "check-ignore", "--quiet", f"data/{path}"], cwd=PROJECT_DIR, check=True)
