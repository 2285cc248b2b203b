"""CPU seconds to scrub texts of one repeated unit, next to an ordinary text of the same length.

    python benchmarks/bench_hostile_text.py [--characters 100000] [--domain clinical]

A table, then one JSON line. The ordinary text consists of the labelled notes of `data/evaluation/phi`.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.table import Table

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.phi.scrubber import build_scrubber
from fine_tune_assets.recipes.loader import load_recipe

UNITS = (
    "Anna-", "Anna ", "Anna, ", "Mary-Ann ", "Dr. Anna ", "O'", "A.B. ", "a", "A", "Ä", " ", "\t", "\n", "1", "1.", "1-", "1 ",
    "a@", "01/02/2020 ", "5 Main Street ", "www.", "[NAME] ", "(", '"', "a\u0301", "😀",
)  # fmt: skip
KNOWN = [
    {"kind": "name", "value": "Anna Quixley"},
    {"kind": "id", "value": "1112131"},
    {"kind": "date", "value": "1970-02-03"},
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--characters", type=int, default=100_000)
    parser.add_argument("--domain", default="clinical")
    parser.add_argument("--units", nargs="+", default=UNITS)
    given = parser.parse_args()
    go_offline()
    scrubber = build_scrubber(replace(load_recipe("demo_smollm2").scrubber, domain=given.domain))
    texts = {"ordinary": read_ordinary(given.characters)}
    texts |= {repr(unit): (unit * (given.characters // len(unit) + 1))[: given.characters] for unit in given.units}
    rows = []
    for name, text in texts.items():
        start = time.process_time()
        found = scrubber.scrub(text, KNOWN)
        seconds = time.process_time() - start
        ratio = round(seconds / rows[0]["seconds"], 2) if rows else 1.0
        rows.append(
            {"text": name, "seconds": round(seconds, 2), "times an ordinary text": ratio, "spans": len(found.spans)}
        )
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    table = Table(*rows[0], title=f"{given.characters:,} characters")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(stderr=True).print(table)
    print(json.dumps({"characters": given.characters, "domain": given.domain, "rows": rows}))


def read_ordinary(characters: int) -> str:
    paths = sorted((PROJECT_DIR / "data" / "evaluation" / "phi").glob("*.jsonl"))
    notes = [json.loads(line)["text"] for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    text = "\n\n".join(notes)
    return (text * (characters // len(text) + 1))[:characters]


if __name__ == "__main__":
    main()
