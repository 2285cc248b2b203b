"""Small model folders without weights: a byte-level tokenizer, a chat template, and stop tokens."""

import json
from collections.abc import Sequence
from pathlib import Path

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
ROLES = ("<system>", "<user>", "<assistant>", "<end>")


def make_model_folder(
    folder: Path,
    template: str = TEMPLATE,
    added: Sequence[str] = ROLES,
    bos: str | None = "<bos>",
    eos: str = "<end>",
    stops: Sequence[str] | None = None,
) -> Path:
    """`added`: added tokens. `stops`: stop tokens in generation_config.json, which is omitted if None."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    reader = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    reader.pre_tokenizer, reader.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    names = list(dict.fromkeys([*added, *([bos] if bos else []), eos]))
    reader.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in names])
    folder.mkdir(parents=True, exist_ok=True)
    reader.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bos, "eos_token": eos}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text(template)
    if stops is not None:
        ids = [reader.token_to_id(stop) for stop in stops]
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids}))
    return folder
