"""Trains the verifier that comes with the repository, and replaces it.

    python benchmarks/shipped_verifier.py [--base encoder|FOLDER] [--pairs N] [--seed N]

The same as `fine-tune verifier train`, except that the leakage certificate also covers every text of the demo's sample. After it,
the weights of completeness (`make fit-judge`), the shipped measurements and the shipped release must be made again.
"""

import argparse
import csv
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fine_tune_assets.core.paths import PROJECT_DIR, Layout
from fine_tune_assets.judging.judges.verifier.verifier_builds import build_verifier
from fine_tune_assets.judging.judges.verifier.verifier_files import SHIPPED_FOLDER
from fine_tune_assets.judging.judges.verifier.verifier_sources import gather_sources

REPORTS = PROJECT_DIR / "data" / "verifier_training"
SAMPLE = PROJECT_DIR / "data" / "raw_reports"
LICENCE = "Apache-2.0; trained on MTS-Dialog (CC BY 4.0) from all-MiniLM-L6-v2 (Apache-2.0)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="encoder", help="encoder, or the folder of a verifier to continue")
    parser.add_argument("--pairs", type=int, default=178_000, help="pairs of a record and a statement")
    parser.add_argument("--seed", type=int, default=11, help="seed of the training")
    parser.add_argument("--output", type=Path, default=SHIPPED_FOLDER, help="folder that is replaced")
    given = parser.parse_args()
    sources = gather_sources(
        Layout(PROJECT_DIR / "data"),
        [REPORTS / "mts_dialog.jsonl.gz"],
        test_files=[REPORTS / "mts_dialog_unseen.jsonl.gz"],
        kept_apart=list(sample_texts()),
    )
    settings = {
        "pairs": given.pairs,
        "seed": given.seed,
        "threads": len(os.sched_getaffinity(0)),
        "base": None if given.base == "encoder" else Path(given.base),
    }
    with tempfile.TemporaryDirectory(dir=given.output.parent) as scratch:
        made = Path(scratch) / "verifier"
        results = build_verifier(made, sources, settings, show, {"licence": LICENCE})
        given.output.mkdir(exist_ok=True)
        for file in made.iterdir():
            file.replace(given.output / file.name)
    print(json.dumps(results))


def sample_texts() -> Iterator[str]:
    """Every text of the demo's reports."""
    for path in sorted(SAMPLE.rglob("*")):
        if path.suffix == ".txt" and path.name != "LICENSE.txt":
            yield path.read_text(encoding="utf-8", errors="ignore")  # one is damaged on purpose
        elif path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as file:
                yield from (text for row in csv.DictReader(file) for text in row.values() if text)
        elif path.suffix == ".jsonl":
            for line in path.read_text(encoding="utf-8").splitlines():
                yield from (text for text in json.loads(line).values() if isinstance(text, str))


def show(done: int, total: int, what: str) -> None:
    if done == total or not done // 200 % 50:
        print(f"{done:,} of {total:,} {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
