"""A GGUF converts to an equivalent folder or is refused; llama.cpp reads the same file as the reference."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.engines.transformers_models import load_tokenizer
from fine_tune_assets.merging.gguf import GgufConverter
from fine_tune_assets.training.base_models.gguf_files import (
    MAXIMUM_KL,
    SAMPLE_TEXTS,
    known_pre_tokenizers,
    load_gguf_tokenizer,
    require_same_predictions,
    tokenize_with_llama_cpp,
)
from fine_tune_assets.training.base_models.model_imports import import_model
from fine_tune_assets.training.base_models.registration import bundled_gguf
from fine_tune_assets_tests.conftest import SAMPLE
from fine_tune_assets_tests.training.base_models.small_model import safetensors

pytestmark = pytest.mark.slow
PRE = "tokenizer.ggml.pre"
Rewrite = Callable[..., Path]


def rewrite(source: Path, path: Path, with_weights: bool = False, scale: float = 1.0, **changes: Any) -> Path:
    """Write the GGUF with changed metadata, with or without its weights."""
    from gguf import GGUFReader, GGUFValueType, GGUFWriter

    reader = GGUFReader(source)
    fields = {n: (f.contents(), f.types) for n, f in reader.fields.items() if not n.startswith("GGUF.")}
    writer = GGUFWriter(path, str(fields.pop("general.architecture")[0]))
    for name, value in changes.items():
        fields[name] = (value, fields[name][1] if name in fields else [GGUFValueType.STRING])
    for name, (value, types) in fields.items():
        writer.add_key_value(name, value, types[0], types[-1] if types[0] == GGUFValueType.ARRAY else None)
    for tensor in reader.tensors if with_weights else []:
        data = tensor.data * scale if tensor.name == "output_norm.weight" else tensor.data
        writer.add_tensor(tensor.name, data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def rewritten(tmp_path: Path) -> Rewrite:
    return partial(rewrite, bundled_gguf(), tmp_path / "model.gguf")


@pytest.mark.parametrize("pre", ["smollm", "gpt-2", "llama-bpe", "qwen2", "tekken"])
def test_pre_tokenization_matches_llama_cpp(rewritten: Rewrite, pre: str) -> None:
    """Uses the bundled vocabulary with the pre-tokenizer of each family. For `smollm` and `gpt-2`, transformers alone is wrong or
    right by chance: it falls back to bytes for values that it does not know."""
    assert pre in known_pre_tokenizers()
    gguf = rewritten(**{PRE: pre})
    tokenizer = load_gguf_tokenizer(gguf, pre)
    assert [tokenizer(text, add_special_tokens=False)["input_ids"] for text in SAMPLE_TEXTS] == tokenize_with_llama_cpp(
        gguf, SAMPLE_TEXTS
    )


@pytest.fixture(scope="module")
def sentencepiece_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF of a small Llama with random weights and a SentencePiece vocabulary trained on the sample."""
    import sentencepiece
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("sentencepiece")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1000, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        pad_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    sentencepiece.SentencePieceTrainer.train(
        input=str(SAMPLE / "raw_reports" / "2026-02-dialogues" / "visits.csv"),
        model_prefix=str(folder / "tokenizer"), vocab_size=1000, model_type="bpe", byte_fallback=True, split_digits=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, minloglevel=2,
    )  # fmt: skip
    with GgufConverter(folder, folder) as converter:
        converter.write("f16", folder / "converted.gguf")
    template = "{% for m in messages %}<s>[{{ m.role }}] {{ m.content }}</s>{% endfor %}"
    changes = {"tokenizer.chat_template": template}
    return rewrite(folder / "converted.gguf", folder / "model.gguf", with_weights=True, **changes)


def test_a_sentencepiece_vocabulary_matches_llama_cpp(sentencepiece_gguf: Path, tmp_path: Path) -> None:
    """As in Llama 2 and the first Mistral. transformers alone drops the space before a text that begins with spaces."""
    imported = import_model(sentencepiece_gguf, tmp_path / "base_models", "small", "MIT", "")
    tokenizer = load_tokenizer(imported.folder)
    texts = [*SAMPLE_TEXTS, "  hi", "<s>[user]  hi</s><s>[assistant] there"]
    ours = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert ours == tokenize_with_llama_cpp(sentencepiece_gguf, texts)
    assert imported.model.dtype == "float16"


@pytest.mark.parametrize("pre", ["falcon", "default", "command-r", "deepseek-llm", "invented", ""])
def test_an_unknown_pre_tokenizer_is_refused(rewritten: Rewrite, tmp_path: Path, pre: str) -> None:
    """transformers would silently use bytes, so training and serving would use other tokens than pretraining."""
    with pytest.raises(ModelFolderError, match=rf"\(gpt2, {pre or 'none'}"):
        import_model(rewritten(with_weights=True, **{PRE: pre}), tmp_path / "base_models", "m", "MIT", "")


def test_the_sample_texts_detect_a_wrong_pre_tokenizer(rewritten: Rewrite) -> None:
    """Otherwise the comparison with llama.cpp would prove nothing."""
    gguf = rewritten(**{PRE: "smollm"})
    tokenizer = load_gguf_tokenizer(gguf, "gpt-2")
    assert [tokenizer(text, add_special_tokens=False)["input_ids"] for text in SAMPLE_TEXTS] != tokenize_with_llama_cpp(
        gguf, SAMPLE_TEXTS
    )


def test_a_gguf_is_imported_without_reading_files_next_to_it(tmp_path: Path) -> None:
    """The import succeeds only if tokens and predictions match llama.cpp's. transformers alone would read a planted
    tokenizer_config.json next to the GGUF, and with it another chat template."""
    path = Path(shutil.copy(bundled_gguf(), tmp_path))
    (tmp_path / "tokenizer_config.json").write_text(
        '{"chat_template": "planted", "auto_map": {"AutoTokenizer": "a.B"}}'
    )
    (tmp_path / "model.safetensors").write_bytes(safetensors({"planted": (1, 1)}))
    imported = import_model(path, tmp_path / "base_models", "", "", "")
    assert imported.model.licence == "Apache-2.0"
    assert imported.model.dtype == "bfloat16"
    assert imported.model.parameter_count == 134_515_008
    assert imported.model.stop_tokens == ("<|im_end|>",)
    assert imported.folder.name.startswith("SmolLM2-135M-Instruct.Q4_1-")
    assert "planted" not in (imported.folder / "chat_template.jinja").read_text()


def test_predictions_that_differ_from_llama_cpp_are_refused(rewritten: Rewrite, smollm2: Path) -> None:
    """Weights in a wrong order, or a wrong rotary base, give a folder that looks valid."""
    require_same_predictions(bundled_gguf(), smollm2)
    with pytest.raises(ModelFolderError, match=rf"KL .* {MAXIMUM_KL}\)"):
        require_same_predictions(rewritten(with_weights=True, scale=0.2), smollm2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"general.type": "adapter"}, "projector"),
        ({"tokenizer.ggml.model": "rwkv"}, r"\(rwkv, "),
    ],
)
def test_anything_but_a_known_kind_of_language_model_is_refused(
    rewritten: Rewrite, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    """Adapters and projectors are also GGUF files."""
    with pytest.raises(ModelFolderError, match=message):
        import_model(rewritten(with_weights=True, **changes), tmp_path / "base_models", "m", "MIT", "")


def test_a_gguf_without_weights_is_refused(rewritten: Rewrite, tmp_path: Path) -> None:
    """It is only a vocabulary."""
    with pytest.raises(ModelFolderError, match="projector"):
        import_model(rewritten(), tmp_path / "base_models", "m", "MIT", "")


def test_a_gguf_without_a_chat_template_is_refused(rewritten: Rewrite, tmp_path: Path) -> None:
    """The refusal comes before the conversion, which can take an hour."""
    gguf = rewritten(with_weights=True, **{"tokenizer.chat_template": ""})
    with pytest.raises(ModelFolderError, match="chat template"):
        import_model(gguf, tmp_path / "base_models", "m", "MIT", "")


@pytest.mark.parametrize("kept_bytes", [4, 24, 100, 100_000])
def test_a_truncated_gguf_is_refused(tmp_path: Path, kept_bytes: int) -> None:
    """As after an interrupted download."""
    path = tmp_path / "model.gguf"
    path.write_bytes(bundled_gguf().read_bytes()[:kept_bytes])
    with pytest.raises(ModelFolderError, match=r"model\.gguf"):
        import_model(path, tmp_path / "base_models", "m", "MIT", "")
