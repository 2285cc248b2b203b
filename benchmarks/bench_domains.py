"""What the scrubbers of law and finance remove: on the samples that their packs were developed on, and on held-out reports.

    python benchmarks/bench_domains.py

Authors of the held-out reports (`benchmarks/held_out_reports`) saw neither packs nor samples. The tagger `law_finance` learned
from the first three sets and was chosen on the fourth, so only the fifth says what the scrubber removes from unseen reports. The
last columns are the clinical scrubber on the same texts. A table, then one JSON line.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.phi.measurement.recall import ALL, DIRECT, GoldDocument, measure_documents, read_gold
from fine_tune_assets.phi.scrub_workers import open_workers
from fine_tune_assets.recipes.loader import load_recipe

RECIPES = {"clinical": "demo_smollm2", "law": "law_contracts", "finance": "finance_complaints"}
HELD_OUT, EVALUATION = PROJECT_DIR / "benchmarks" / "held_out_reports", PROJECT_DIR / "data" / "evaluation"
INDIRECT = frozenset({"SORT_CODE", "BIC", "ROUTING_NUMBER", "ACCESS_CODE", "CARD_ENDING", "INITIALS", "DATE"})
"""Labels that identify no one alone, in addition to organizations (`held_out_reports/LABELS.md`, `data/samples/SOURCE.md`)."""
RECALL, EXCESS = "masked_recall", "non_phi_tokens_masked"


def main() -> None:
    go_offline()
    rows = []
    for domain in ("law", "finance"):
        sets = {
            "samples": EVALUATION / f"{domain}_phi" / "samples.jsonl",
            "first held-out set": HELD_OUT / f"{domain}.jsonl",
            "second held-out set": HELD_OUT / f"{domain}_2.jsonl",
            "third held-out set": HELD_OUT / f"{domain}_3.jsonl",
            "fourth held-out set": HELD_OUT / f"{domain}_4.jsonl",
            "fifth held-out set": EVALUATION / f"{domain}_phi" / "held_out.jsonl",
        }
        for name, file in sets.items():
            documents = read_gold(file)
            own, clinical = (measure(documents, one) for one in (domain, "clinical"))
            rows.append({"domain": domain, "set": name, "reports": len(documents), **own, "clinical": clinical})
    show(rows)
    print(json.dumps(rows))


def measure(documents: Sequence[GoldDocument], domain: str) -> dict[str, Any]:
    settings = load_recipe(RECIPES[domain]).scrubber
    with open_workers(settings, len(documents)) as workers:
        found = [one.spans for one in workers.scrub([(document.text, ()) for document in documents])]
    measures = measure_documents(documents, found, INDIRECT)
    recalls = {one.label: one for one in measures if one.name == RECALL}
    excess = next((one for one in measures if one.name == EXCESS), None)
    missed = {label: one.total - one.hits for label, one in recalls.items() if one.total and one.hits is not None}
    return {
        "direct": _shown(recalls[DIRECT]),
        "all": _shown(recalls[ALL]),
        "other words masked": round(excess.value, 4) if excess else None,
        "missed": {k: n for k, n in sorted(missed.items(), key=lambda item: -item[1]) if n and k not in (ALL, DIRECT)},
    }


def _shown(measure: Any) -> dict[str, float]:
    return {"recall": round(measure.value, 4), "low": round(measure.low, 4), "total": measure.total}


def show(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title="Identifiers removed completely")
    columns = (
        "domain",
        "set",
        "reports",
        "direct (95 % from)",
        "all",
        "other words masked",
        "direct, clinical",
        "missed",
    )
    for column in columns:
        table.add_column(column)
    for row in rows:
        missed = ", ".join(f"{label} {count}" for label, count in list(row["missed"].items())[:6])
        table.add_row(
            row["domain"],
            row["set"],
            str(row["reports"]),
            f"{row['direct']['recall']:.3f} ({row['direct']['low']:.3f}) of {row['direct']['total']}",
            f"{row['all']['recall']:.3f}",
            str(row["other words masked"]),
            f"{row['clinical']['direct']['recall']:.3f}",
            missed,
        )
    Console(file=sys.stderr, width=170).print(table)


if __name__ == "__main__":
    main()
