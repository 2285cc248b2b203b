"""What the checks of a draft find: planted errors in human notes, and how often an untouched note is flagged.

Pairs of dialogue and note from MTS-Dialog, ACI-Bench and PriMock57 lie in `visit_pairs`. Each pair belongs to one half by the
hash of its note; the checks were tuned on `tune`, and `report` is what is reported. Then the check of model-written drafts: the
verifier next to the rules (`draft_gate.py`).
"""

import argparse
import gzip
import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from draft_gate import measure_gate, measure_yield
from rich.console import Console
from rich.table import Table

from fine_tune_assets.approval.draft_checks import check_output, find_label_noise
from fine_tune_assets.approval.flags import flag_kind
from fine_tune_assets.claims.grounding_checks import measure_word_overlap
from fine_tune_assets.claims.statements import extract_statements, is_contradiction
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.judging.judges.planted_errors.error_plants import PLANTS
from fine_tune_assets.judging.judges.verifier.verifier_files import SHIPPED_FOLDER
from fine_tune_assets.recipes.domain_packs import load_pack

SEED = 20260101
CHECKS = load_pack("clinical").pack.checks
TIMED_DRAFTS = 10_000
FLOORS = (0.15, 0.2, 0.25, 0.3, 0.35)
PAIRS = Path(__file__).parent / "visit_pairs" / "visit_pairs.jsonl.gz"


@dataclass(frozen=True)
class Pair:
    corpus: str
    input: str
    output: str

    @property
    def half(self) -> str:
        return "tune" if int(fingerprint_text(self.output)[:8], 16) % 2 else "report"


def read_pairs(half: str) -> list[Pair]:
    with gzip.open(PAIRS, "rt", encoding="utf-8") as file:
        return [pair for line in file if (pair := Pair(**json.loads(line))).half == half]


def measure(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Planted errors that are found, also as a contradiction to the right output; and untouched pairs with a flag."""
    planted: dict[str, Counter[str]] = defaultdict(Counter)
    alarms: Counter[str] = Counter()
    for place, pair in enumerate(pairs):
        before = check_output(pair.output, pair.input, CHECKS)
        noise = {"label noise"} if find_label_noise(pair.input, pair.output) else set()
        alarms.update({flag_kind(flag) for flag in before} | noise)
        alarms["any"] += bool(before)
        for name, (plant, kind) in PLANTS.items():
            changed = plant(pair.output, random.Random(SEED + place))
            if changed is None or changed == pair.output:
                continue
            new = set(check_output(changed, pair.input, CHECKS)) - set(before)
            planted[name]["planted"] += 1
            planted[name]["flagged"] += bool(new)
            planted[name]["flagged by its kind"] += any(flag_kind(flag) == kind for flag in new)
            is_opposite = is_contradiction(extract_statements(pair.output, CHECKS), extract_statements(changed, CHECKS))
            planted[name]["contradicts the right output"] += is_opposite
    return {
        "pairs": len(pairs),
        "planted": {name: dict(counts) for name, counts in planted.items()},
        "untouched flagged": dict(alarms),
    }


def measure_swapped(pairs: Sequence[Pair]) -> dict[str, Any]:
    """By corpus and floor: outputs of another pair that fall below it, and own ones that do."""
    found: dict[str, Any] = {}
    for corpus in sorted({pair.corpus for pair in pairs}):
        of_corpus = [pair for pair in pairs if pair.corpus == corpus]
        own, other = [], []
        for place, pair in enumerate(of_corpus):
            step = random.Random(SEED + place).randrange(1, len(of_corpus))
            swapped = of_corpus[(place + step) % len(of_corpus)]
            if (share := measure_word_overlap(pair.output, pair.input)) is not None:
                own.append(share)
            if (share := measure_word_overlap(swapped.output, pair.input)) is not None:
                other.append(share)
        found[corpus] = {
            "own": len(own),
            "swapped": len(other),
            "floors": {
                str(floor): {
                    "recall": round(sum(share < floor for share in other) / len(other), 3),
                    "alarms": round(sum(share < floor for share in own) / len(own), 3),
                }
                for floor in FLOORS
            },
        }
    return found


def measure_time(pairs: Sequence[Pair], drafts: int) -> dict[str, float]:
    """Checking that many drafts in one process, the pairs again and again: by the clock, and of the processor."""
    began, used = time.perf_counter(), time.process_time()
    for pair in islice(cycle(pairs), drafts):
        check_output(pair.output, pair.input, CHECKS)
        measure_word_overlap(pair.output, pair.input)
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "processor_seconds": round(time.process_time() - used, 1),
        "characters_a_draft": round(sum(len(pair.input) + len(pair.output) for pair in pairs) / len(pairs)),
    }


def show(half: str, figures: dict[str, Any]) -> None:
    found = Table("planted", "times", "flagged", "by its kind", "contradiction", title=f"Planted errors, half `{half}`")
    for name, counts in figures["planted"].items():
        total = counts["planted"]
        keys = ("flagged", "flagged by its kind", "contradicts the right output")
        found.add_row(name, str(total), *(f"{counts[key] / total:.3f}" for key in keys))
    alarms = Table("kind", "pairs", "share", title=f"{figures['pairs']} untouched human pairs, half `{half}`")
    for kind, count in sorted(figures["untouched flagged"].items()):
        alarms.add_row(kind, str(count), f"{count / figures['pairs']:.3f}")
    swapped = Table("corpus", "floor", "swapped flagged", "own flagged", title="Outputs of another pair")
    for corpus, of_corpus in figures["swapped"].items():
        for floor, shares in of_corpus["floors"].items():
            swapped.add_row(corpus, floor, f"{shares['recall']:.3f}", f"{shares['alarms']:.3f}")
    console = Console(file=sys.stdout, width=100)
    console.print(found, alarms, swapped)
    took = figures["time"]
    console.print(
        f"{TIMED_DRAFTS:,} drafts of {took['characters_a_draft']:,} characters checked in {took['seconds']} s, "
        f"{took['processor_seconds']} s of one processor"
    )


def show_gate(figures: dict[str, Any]) -> None:
    console = Console(file=sys.stdout, width=100)
    for title, key in (
        (f"Sentences of {figures['reports']} unseen notes", "planted"),
        ("Whole unseen notes", "whole notes"),
        ("Summaries by models, rated by clinicians", "rated summaries"),
    ):
        table = Table("planted error", "drafts", "rules", "verifier", "both", title=f"{title}: share stopped")
        for kind, counts in figures[key].items():
            shares = (f"{counts[name] / counts['drafts']:.3f}" for name in ("rules", "verifier", "both"))
            table.add_row(kind, str(counts["drafts"]), *shares)
        console.print(table)
    supports = Table("support from", "what stops", "errors stopped", "right drafts stopped", title="Thresholds")
    for support, found in figures["supports"].items():
        for name, shares in found.items():
            supports.add_row(support, name, *(f"{shares[kind]:.3f}" for kind in ("errors", "right")))
    effort = Table("what is read", "reviewed", "approved", "actions", "words", title="Effort per approved summary")
    for name, counts in figures["effort"].items():
        effort.add_row(name, *(str(value) for value in counts.values()))
    console.print(supports, effort, figures["verifier"])


def examples(pairs: Sequence[Pair], kind: str, count: int) -> Iterator[str]:
    """Flags of untouched pairs, drawn at random: for reading by eye."""
    flagged = [(p, f) for p in pairs for f in check_output(p.output, p.input, CHECKS) if kind in ("any", flag_kind(f))]
    for pair, flag in random.Random(SEED).sample(flagged, min(count, len(flagged))):
        yield f"{'=' * 80}\n{pair.corpus} | {flag}\n--- output\n{pair.output[:1500]}\n--- input\n{pair.input[:4000]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--half", choices=("tune", "report"), default="report")
    parser.add_argument(
        "--examples", metavar="KIND", help="print flags of untouched pairs instead; `any` for every kind"
    )
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--size", type=int, default=0, help="reports and summaries for the verifier; 0: all")
    parser.add_argument("--only-verifier", action="store_true", help="only the check of model-written drafts")
    parser.add_argument("--verifier", type=Path, default=SHIPPED_FOLDER, help="folder of the verifier")
    parser.add_argument("--model", type=Path, help="folder of a model that writes questions about notes")
    parser.add_argument("--notes", type=int, default=16, help="notes for this model")
    parser.add_argument("--questions", type=int, default=3, help="questions per note")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    pairs = read_pairs(asked.half)
    if asked.examples:
        print("\n".join(examples(pairs, asked.examples, asked.count)))
        return
    figures: dict[str, Any] = {}
    if not asked.only_verifier:
        figures |= {**measure(pairs), "swapped": measure_swapped(pairs), "time": measure_time(pairs, TIMED_DRAFTS)}
        show(asked.half, figures)
    gate = measure_gate(asked.size, asked.verifier, asked.threads, SEED)
    show_gate(gate)
    if asked.model is not None:
        gate["yield"] = measure_yield(asked.model, asked.verifier, asked.notes, asked.questions, asked.threads)
        print(", ".join(f"{name}: {count}" for name, count in gate["yield"].items()))
    print(json.dumps({"benchmark": "drafts", "half": asked.half, **figures, "gate": gate}))


if __name__ == "__main__":
    main()
