"""The sentence encoder gives the published model's vectors, and a text's vector does not depend on its batch."""

import numpy as np
import pytest

from fine_tune_assets.embeddings.encoder import WINDOW_PIECES, bundled_encoder, bundled_encoder_folder, encode_passages

TEXTS = [
    "The patient denies chest pain.",
    "No chest pain reported.",
    "Fracture of the left wrist.",
    "",
    "Cough. " * 200,
    "a",
    "Follow-up of type 2 diabetes; metformin 500 mg twice a day.",
]


def test_vectors_are_unit_vectors_and_similar_texts_are_close() -> None:
    vectors = bundled_encoder().encode(TEXTS)
    assert vectors.shape == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-6)
    assert vectors[0] @ vectors[1] > 0.6 > 0.3 > vectors[0] @ vectors[2]


def test_a_vector_is_bit_identical_in_any_batch_and_with_any_thread_count() -> None:
    """Stored vectors are compared with new ones; a cosine at the threshold must not depend on the batch."""
    encoder = bundled_encoder()
    together = encoder.encode(TEXTS * 8, threads=2)[: len(TEXTS)]
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    assert np.array_equal(together, alone)
    assert np.array_equal(encoder.encode(TEXTS[::-1])[::-1], alone)


def test_a_long_text_is_encoded_to_its_end_in_passages() -> None:
    long = " ".join(f"word{number}" for number in range(400))
    vectors, counts = encode_passages(["short", long, long + " and a new last page about the knee"])
    assert counts[0] == 1
    assert counts[1] == -(-len(bundled_encoder().tokenize([long])[0]) // WINDOW_PIECES)
    assert vectors.shape == (counts.sum(), 384)
    assert not np.array_equal(vectors[counts[0] + counts[1] - 1], vectors[-1])
    assert encode_passages([])[0].shape == (0, 384)


@pytest.mark.slow
def test_vectors_match_the_published_model() -> None:
    """The ONNX graph is rebuilt from the published weights, so it is compared with torch."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = bundled_encoder_folder()
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    tokens = AutoTokenizer.from_pretrained(folder, local_files_only=True)(
        [t for t in TEXTS if t], padding=True, truncation=True, max_length=256, return_tensors="pt"
    )
    with torch.no_grad():
        states = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"][:, :, None]
    expected = torch.nn.functional.normalize((states * mask).sum(dim=1) / mask.sum(dim=1)).numpy()
    found = bundled_encoder().encode([t for t in TEXTS if t])
    assert np.abs(found - expected).max() < 1e-5
