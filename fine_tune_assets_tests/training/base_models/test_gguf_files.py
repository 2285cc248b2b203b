"""A GGUF becomes a folder that is the same model, or is refused: llama.cpp, which reads the file itself, is the witness."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.engines.transformers_models import load_tokenizer
from fine_tune_assets.merging.gguf import Converter
from fine_tune_assets.training.base_models.gguf_files import (
    TEXTS,
    gguf_tokenizer,
    known_pre_tokenizers,
    llama_cpp_tokens,
    require_same_predictions,
)
from fine_tune_assets.training.base_models.imports import import_model
from fine_tune_assets.training.base_models.registry import bundled_gguf
from fine_tune_assets_tests.conftest import SAMPLE
from fine_tune_assets_tests.training.base_models.small_model import safetensors

pytestmark = pytest.mark.slow
PRE = "tokenizer.ggml.pre"
Rewrite = Callable[..., Path]


def rewrite(source: Path, path: Path, with_weights: bool = False, scale: float = 1.0, **changes: Any) -> Path:
    """Write a GGUF anew with other metadata: without its weights, or with them."""
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
def test_text_is_cut_as_llama_cpp_cuts_it(rewritten: Rewrite, pre: str) -> None:
    """With the bundled vocabulary and the rule of another family. For `smollm` and `gpt-2` transformers alone is wrong, or
    right by chance: it leaves what it does not know at bytes."""
    assert pre in known_pre_tokenizers()
    gguf = rewritten(**{PRE: pre})
    tokenizer = gguf_tokenizer(gguf, pre)
    assert [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS] == llama_cpp_tokens(gguf, TEXTS)


@pytest.fixture(scope="module")
def sentencepiece_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama with random weights and a SentencePiece vocabulary learned from the sample, as GGUF."""
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
    with Converter(folder, folder) as converter:
        converter.write("f16", folder / "converted.gguf")
    template = "{% for m in messages %}<s>[{{ m.role }}] {{ m.content }}</s>{% endfor %}"
    changes = {"tokenizer.chat_template": template}
    return rewrite(folder / "converted.gguf", folder / "model.gguf", with_weights=True, **changes)


def test_a_sentencepiece_vocabulary_is_read_as_llama_cpp_does(sentencepiece_gguf: Path, tmp_path: Path) -> None:
    """Llama 2 and the first Mistral have one. transformers alone drops the space before a text that begins with spaces."""
    imported = import_model(sentencepiece_gguf, tmp_path / "base_models", "small", "MIT", "")
    tokenizer = load_tokenizer(imported.folder)
    texts = [*TEXTS, "  hi", "<s>[user]  hi</s><s>[assistant] there"]
    ours = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert ours == llama_cpp_tokens(sentencepiece_gguf, texts)
    assert imported.model.dtype == "float16"


@pytest.mark.parametrize("pre", ["falcon", "default", "command-r", "deepseek-llm", "invented", ""])
def test_a_way_of_cutting_that_is_not_known_is_refused(rewritten: Rewrite, tmp_path: Path, pre: str) -> None:
    """transformers would take bytes alone without a word, and every training and answer would be on other tokens."""
    with pytest.raises(ModelFolderError, match="cuts text in a way that is not known"):
        import_model(rewritten(with_weights=True, **{PRE: pre}), tmp_path / "base_models", "m", "MIT", "")


def test_another_rule_than_the_file_s_is_noticed(rewritten: Rewrite) -> None:
    """The sample texts must be able to tell the rules apart, or the proof proves nothing."""
    gguf = rewritten(**{PRE: "smollm"})
    tokenizer = gguf_tokenizer(gguf, "gpt-2")
    assert [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS] != llama_cpp_tokens(gguf, TEXTS)


def test_a_gguf_comes_in_and_files_beside_it_are_not_read(tmp_path: Path) -> None:
    """Token ids and predictions were compared with llama.cpp's, or it would not be there. transformers reads a
    tokenizer_config.json beside a GGUF: whoever put one there would choose the template."""
    path = Path(shutil.copy(bundled_gguf(), tmp_path))
    (tmp_path / "tokenizer_config.json").write_text(
        '{"chat_template": "planted", "auto_map": {"AutoTokenizer": "a.B"}}'
    )
    (tmp_path / "model.safetensors").write_bytes(safetensors({"planted": (1, 1)}))
    imported = import_model(path, tmp_path / "base_models", "", "", "")
    assert imported.model.licence == "Apache-2.0"
    assert imported.model.dtype == "bfloat16"
    assert imported.model.parameters == 134_515_008
    assert imported.model.stop_tokens == ("<|im_end|>",)
    assert imported.folder.name.startswith("SmolLM2-135M-Instruct.Q4_1-")
    assert "planted" not in (imported.folder / "chat_template.jinja").read_text()


def test_other_predictions_than_llama_cpp_s_are_refused(rewritten: Rewrite, smollm2: Path) -> None:
    """Weights that were read in another order, or with another rotary base, look like weights."""
    require_same_predictions(bundled_gguf(), smollm2)
    with pytest.raises(ModelFolderError, match="predict something else"):
        require_same_predictions(rewritten(with_weights=True, scale=0.2), smollm2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"general.type": "adapter"}, "not a whole model"),
        ({"tokenizer.ggml.model": "rwkv"}, "cuts text in a way"),
    ],
)
def test_what_is_no_language_model_of_a_known_kind_is_refused(
    rewritten: Rewrite, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    """Adapters and projectors are GGUF files too."""
    with pytest.raises(ModelFolderError, match=message):
        import_model(rewritten(with_weights=True, **changes), tmp_path / "base_models", "m", "MIT", "")


def test_a_gguf_without_weights_is_refused(rewritten: Rewrite, tmp_path: Path) -> None:
    """A vocabulary alone."""
    with pytest.raises(ModelFolderError, match="not a whole model"):
        import_model(rewritten(), tmp_path / "base_models", "m", "MIT", "")


def test_a_gguf_without_a_chat_template_is_refused(rewritten: Rewrite, tmp_path: Path) -> None:
    """Before an hour of conversion, not after it."""
    gguf = rewritten(with_weights=True, **{"tokenizer.chat_template": ""})
    with pytest.raises(ModelFolderError, match="no chat template"):
        import_model(gguf, tmp_path / "base_models", "m", "MIT", "")


@pytest.mark.parametrize("kept_bytes", [4, 24, 100, 100_000])
def test_a_gguf_cut_off_is_refused(tmp_path: Path, kept_bytes: int) -> None:
    """An import that broke off elsewhere."""
    path = tmp_path / "model.gguf"
    path.write_bytes(bundled_gguf().read_bytes()[:kept_bytes])
    with pytest.raises(ModelFolderError, match="not a sound GGUF"):
        import_model(path, tmp_path / "base_models", "m", "MIT", "")
