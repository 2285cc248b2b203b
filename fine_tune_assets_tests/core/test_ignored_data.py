"""Users' data in the checkout is ignored by Git."""

import subprocess
from pathlib import Path

import pytest

from fine_tune_assets.core.paths import PROJECT_DIR, Layout

LAYOUT = Layout(PROJECT_DIR / "data")
OWN_PATHS = [
    str(path.relative_to(LAYOUT.data_dir))
    for name, kind in vars(Layout).items()
    if isinstance(kind, property) and isinstance(path := getattr(LAYOUT, name), Path)
]
"""Where the platform stores what runs produce."""


@pytest.mark.skipif(not (PROJECT_DIR / ".git").exists(), reason="Not a Git checkout.")
@pytest.mark.parametrize(
    "path",
    [
        "raw_reports/2026-05-ward/note.txt",
        "knowledge/rules.md",
        "general/own.jsonl",
        "evaluation/phi/own.jsonl",
        "keys/releases.key",
        *(f"{path}/file" for path in OWN_PATHS),
    ],
)
def test_git_ignores_user_data(path: str) -> None:
    """Otherwise `git add .` and a push would publish reports."""
    subprocess.run(["git", "check-ignore", "--quiet", f"data/{path}"], cwd=PROJECT_DIR, check=True)
