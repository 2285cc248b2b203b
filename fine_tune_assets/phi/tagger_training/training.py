"""Trains the tagger, a token classifier over a small sentence encoder, and exports it to what the scrubber runs.

Owns the loss, the order of the examples and what is saved. Where examples come from is in `examples`. Needs torch and, for
the export, onnx, which are imported when they are used.
"""

import random
import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fine_tune_assets.core.progress import Progress
from fine_tune_assets.phi.tagger.encoding import CASE_CLASSES, Ints, load_tokenizer, split_texts
from fine_tune_assets.phi.tagger.labels import LABELS, UNKNOWN, own_label
from fine_tune_assets.phi.tagger.prediction import CLS_ID, MODEL_FILE, SEP_ID
from fine_tune_assets.phi.tagger_training.synthetic.documents import Labelled
from fine_tune_assets.recipes.schema import TaggerSettings

_SKIPPED = -100
"""torch's mark for a target that is not learned from."""
_LONGEST = 160
LAYERS = 4
"""The first of the encoder's six. With all six the scrubber is 2.3 times as fast as plain Presidio, with four over three."""
TOKENS_OF_A_BATCH = 2048
WARMUP_FRACTION = 0.06
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Example:
    ids: Ints
    classes: Ints
    targets: Ints


def encode_examples(tokenizer: Any, documents: Sequence[Labelled]) -> Iterator[Example]:
    """Windows of the documents, at most 160 pieces each."""
    texts = [text for text, _ in documents]
    for (_, spans), pieces in zip(documents, split_texts(tokenizer, texts), strict=True):
        targets = np.zeros(len(pieces.ids), dtype=np.int64)
        for start, end, label in spans:
            own = own_label(label)
            target = _SKIPPED if own == UNKNOWN else LABELS.index(own)
            targets[(pieces.starts < end) & (pieces.ends > start)] = target
        for at in range(0, len(targets), _LONGEST):
            part = slice(at, at + _LONGEST)
            yield Example(pieces.ids[part], pieces.classes[part], targets[part])


def batches(examples: Sequence[Example], rng: random.Random) -> Iterator[list[Example]]:
    """Batches of about 2,048 pieces, of examples of like length."""
    order = sorted(range(len(examples)), key=lambda i: (len(examples[i].ids) // 16, rng.random()))
    groups: list[list[Example]] = [[]]
    for index in order:
        longest = max((len(e.ids) for e in [*groups[-1], examples[index]]), default=0)
        if groups[-1] and longest * (len(groups[-1]) + 1) > TOKENS_OF_A_BATCH:
            groups.append([])
        groups[-1].append(examples[index])
    rng.shuffle(groups)
    yield from groups


def train_tagger(
    encoder: Path, documents: Iterator[list[Labelled]], settings: TaggerSettings, output: Path, progress: Progress
) -> None:
    """Train over the encoder in `encoder` and save model and tokenizer to `output`.

    `documents` yields one pool of documents after the other; each pool is seen once, in batches of like length.
    """
    import torch

    torch.manual_seed(settings.seed)
    rng = random.Random(settings.seed)
    tokenizer = load_tokenizer(encoder)
    model = new_classifier(encoder)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, settings))
    model.train()
    losses: list[float] = []
    all_batches = (batch for pool in documents for batch in batches(list(encode_examples(tokenizer, pool)), rng))
    for step, batch in enumerate(all_batches, start=1):
        losses.append(_learn(model, batch, optimizer, trained))
        schedule.step()
        if step % 20 == 0:
            progress(step, settings.steps, f"steps, loss {float(np.mean(losses[-20:])):.4f}")
        if step == settings.steps:
            break
    output.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(output)
    (output / "tokenizer.json").write_bytes((encoder / "tokenizer.json").read_bytes())


def new_classifier(encoder: Path) -> Any:
    """The encoder with a fresh classification layer; its word embeddings stay as they are, so that rare names keep theirs."""
    import torch
    from transformers import BertForTokenClassification

    model = BertForTokenClassification.from_pretrained(
        encoder,
        num_labels=len(LABELS),
        id2label=dict(enumerate(LABELS)),
        num_hidden_layers=LAYERS,
        local_files_only=True,
    )
    segments = model.bert.embeddings.token_type_embeddings.weight.data[0]
    classes = torch.nn.Embedding(CASE_CLASSES, segments.shape[0])
    classes.weight.data = segments + 0.02 * torch.randn_like(classes.weight)
    model.bert.embeddings.token_type_embeddings = classes
    model.config.type_vocab_size = CASE_CLASSES
    model.bert.embeddings.word_embeddings.weight.requires_grad = False
    return model


def _rate(step: int, settings: TaggerSettings) -> float:
    warm = max(1, int(settings.steps * WARMUP_FRACTION))
    return min((step + 1) / warm, max(0.02, (settings.steps - step) / max(1, settings.steps - warm)))


def _learn(model: Any, batch: Sequence[Example], optimizer: Any, trained: Sequence[Any]) -> float:
    import torch

    ids, classes, targets, mask = (torch.from_numpy(a) for a in padded(batch))
    # bfloat16 on the CPU: 1.5 times as fast where the processor has it, with the same recall.
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=ids, token_type_ids=classes, attention_mask=mask).logits
    loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=_SKIPPED)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def padded(batch: Sequence[Example]) -> tuple[Ints, Ints, Ints, Ints]:
    """ids, classes, targets and mask, each (examples, longest + 2), with [CLS] and [SEP] around."""
    longest = max(len(e.ids) for e in batch) + 2
    ids, classes, mask = (np.zeros((len(batch), longest), dtype=np.int64) for _ in range(3))
    targets = np.full((len(batch), longest), _SKIPPED, dtype=np.int64)
    for row, example in enumerate(batch):
        n = len(example.ids)
        ids[row, 0], ids[row, 1 : n + 1], ids[row, n + 1] = CLS_ID, example.ids, SEP_ID
        classes[row, 1 : n + 1] = example.classes
        targets[row, 1 : n + 1] = example.targets
        mask[row, : n + 2] = 1
    return ids, classes, targets, mask


def export_tagger(trained: Path, output: Path) -> Path:
    """Write `model.int8.onnx` and `tokenizer.json` of a trained tagger to `output`; returns the model file.

    Dynamic quantization: weights and activations of the matrix products in 8 bits (19 MB instead of 72, 2 to 2.5 times as
    fast on a processor with VNNI).
    """
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from transformers import BertForTokenClassification

    model = BertForTokenClassification.from_pretrained(
        trained, attn_implementation="eager", local_files_only=True
    ).eval()
    output.mkdir(parents=True, exist_ok=True)
    whole = output / "model.float32.onnx"
    ids = torch.ones((2, 16), dtype=torch.int64)
    with warnings.catch_warnings():
        # The exporter that it recommends instead needs onnxscript and makes a file that quantizes worse.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (ids, ids, torch.zeros_like(ids)), str(whole), input_names=list(_INPUTS), output_names=["logits"],
            dynamic_axes={name: {0: "texts", 1: "pieces"} for name in (*_INPUTS, "logits")}, opset_version=17, dynamo=False,
        )  # fmt: skip
    quantize_dynamic(str(whole), str(output / MODEL_FILE), weight_type=QuantType.QInt8)
    whole.unlink()
    shutil.copyfile(trained / "tokenizer.json", output / "tokenizer.json")
    return output / MODEL_FILE
