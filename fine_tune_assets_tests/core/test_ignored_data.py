"""Users' data in the checkout is ignored by Git."""

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
def test_git_ignores_user_data(path: str) -> None:
    """Otherwise `git add .` and a push would publish reports."""
    subprocess.run(["git", "check-ignore", "--quiet", f"data/{path}"], cwd=PROJECT_DIR, check=True)
