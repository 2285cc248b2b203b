"""Builds the chat template that training, judging and serving share from a model's own template.

The recipe's `prompt.template_kwargs` become part of it, and so do variables that some engines would set. A model without
a system role gets the system prompt in the first user turn, and what the template writes before an answer, such as an empty
reasoning block, belongs to the prompt. Every engine reads the result from the model's folder, so that none needs an option.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.prompts.chat_templates import ChatTemplate
from fine_tune_assets.core.prompts.conversations import Message
from fine_tune_assets.core.prompts.template_process import NOW

TemplateValue = bool | int | float | str
PROMPT_FIELD, JUDGE_FIELD = "prompt.template_kwargs", "judge.template_kwargs"
"""Fields of the recipe."""
_MARK, _MARK_END = "{#- Built by fine_tune_assets with template_kwargs ", " -#}"
_FOLDED_SYSTEM = (
    "{%- set messages = ([{'role': 'user', 'content': messages[0]['content'] + '\\n\\n' + messages[1]['content']}]"
    " + messages[2:]) if messages[1:] and messages[0]['role'] == 'system' and messages[1]['role'] == 'user' else messages -%}"
)
DEFAULTS: Mapping[str, TemplateValue] = {"enable_thinking": False, "date_string": "26 Jul 2024"}
"""Variables that are set unless the recipe does, where a template reads them: llama.cpp turns reasoning on, and sets the current
date (measured with xllamacpp 2026.10). This date is the one in Llama's templates."""
_SWITCHES = ("enable_thinking", "thinking")
"""Variables with which families turn reasoning off."""
_CONTROL_TOKEN = re.compile(r"<[^<>\s]{1,40}>|\[[^\[\]\s]{1,40}\]")
_SYSTEM, _QUESTIONS, _ANSWER = "The system's words.", ("A question.", "Another one?"), "An answer."


class UnusableTemplateError(ModelFolderError):
    """A model can't be trained and served on the same text. The message says what to set."""


@dataclass(frozen=True)
class TemplateChanges:
    """What is added to a model's own template; nothing for most models."""

    settings: Mapping[str, TemplateValue]
    has_system_role: bool = True
    header: str = ""
    """What the template writes between the prompt and an answer."""
    footer: str = ""
    """The token that the template writes after an answer only if another turn follows: the model learns to end with it."""

    def apply(self, source: str) -> str:
        """The changed template. Without changes, `source` byte for byte."""
        if self == TemplateChanges({}):
            return source
        shown = json.dumps(dict(self.settings), sort_keys=True).replace("#", "\\u0023")
        settings = "".join(_assignment(name, value) for name, value in sorted(self.settings.items()))
        folded = "" if self.has_system_role else _FOLDED_SYSTEM
        header = f"{{{{- {_literal(self.header)} if add_generation_prompt else '' -}}}}" if self.header else ""
        has_answer = "not add_generation_prompt and messages[-1]['role'] == 'assistant'"
        footer = f"{{{{- {_literal(self.footer)} if {has_answer} else '' -}}}}" if self.footer else ""
        return f"{_MARK}{shown}{_MARK_END}{settings}{folded}{source}{header}{footer}"


def _literal(text: str) -> str:
    """Without \\u escapes, which not every engine's Jinja reads."""
    return json.dumps(text, ensure_ascii=False)


def _assignment(name: str, value: TemplateValue) -> str:
    if name == NOW:
        return f"{{%- macro {NOW}(format) -%}}{value}{{%- endmacro -%}}"
    return f"{{%- set {name} = {json.dumps(value)} -%}}"


def build_served_template(
    name: str,
    source: str,
    special_tokens: Mapping[str, str],
    settings: Mapping[str, TemplateValue],
    field: str = PROMPT_FIELD,
) -> str:
    """The template for training, judging and serving the model `name`; `field` of the recipe holds its settings. Raises
    UnusableTemplateError."""
    return find_template_changes(name, source, special_tokens, settings, field).apply(source)


def find_template_changes(
    name: str,
    source: str,
    special_tokens: Mapping[str, str],
    settings: Mapping[str, TemplateValue],
    field: str = PROMPT_FIELD,
) -> TemplateChanges:
    """The changes that the template of the model `name` needs; none if it was built here. Raises UnusableTemplateError."""
    if source.startswith(_MARK):
        _require_same_settings(name, source, settings, field)
        return TemplateChanges({})
    if unread := sorted(variable for variable in settings if not _is_read(variable, source)):
        raise UnusableTemplateError(
            f"{name}: {field} sets {', '.join(unread)}, which the model's chat template does not read. Remove it "
            "from the recipe."
        )
    defaults = {name: value for name, value in DEFAULTS.items() if _is_read(name, source)}
    changes = TemplateChanges({**defaults, **settings})
    changes = replace(changes, has_system_role=_has_system_role(changes.apply(source), special_tokens))
    changes = replace(changes, header=_find_header(name, ChatTemplate(changes.apply(source), special_tokens), field))
    changes = replace(changes, footer=_find_footer(ChatTemplate(changes.apply(source), special_tokens)))
    _require_same_texts(name, source, special_tokens, changes)
    return changes


def _is_read(variable: str, source: str) -> bool:
    return re.search(rf"\b{variable}\b", source) is not None


def _require_same_settings(name: str, source: str, settings: Mapping[str, TemplateValue], field: str) -> None:
    fixed = json.loads(source.removeprefix(_MARK).partition(_MARK_END)[0])
    if not settings.items() <= fixed.items():
        raise UnusableTemplateError(
            f"{name}: its chat template was built with template_kwargs {json.dumps(fixed)}. Set the same in "
            f"{field}, or use the original model."
        )


def _has_system_role(source: str, special_tokens: Mapping[str, str]) -> bool:
    """Whether the template writes a system prompt instead of refusing or ignoring it."""
    try:
        prompt = ChatTemplate(source, special_tokens).render(_conversation(_SYSTEM, _QUESTIONS[0]), True)
    except ModelFolderError:
        return False
    return _SYSTEM in prompt.text


def _find_header(name: str, template: ChatTemplate, field: str) -> str:
    """What the template writes between prompt and answer, if that is more than a blank."""
    headers = set()
    for system, question in product((None, _SYSTEM), _QUESTIONS):
        prompt = _render(name, template, _conversation(system, question), True)
        answered = _render(name, template, _conversation(system, question, _ANSWER), False)
        if question not in prompt or _ANSWER not in answered:
            raise UnusableTemplateError(f"{name}: its chat template leaves out texts. Use a text model's template.")
        if answered.startswith(prompt):
            headers.add(answered[len(prompt) :].partition(_ANSWER)[0])
    if not headers:
        raise UnusableTemplateError(f"{name}: its chat template {_reasoning_advice(template.source, field)}")
    if len(headers) > 1:
        raise UnusableTemplateError(
            f"{name}: its chat template begins answers in different ways, so the prompt can't contain the beginning."
        )
    # A space belongs to the answer's first token.
    return headers.pop().rstrip(" ") if any(header.strip() for header in headers) else ""


def _reasoning_advice(source: str, field: str) -> str:
    why = "gives the model another prompt than it writes before an answer, usually because the prompt begins reasoning"
    switch = next((name for name in _SWITCHES if _is_read(name, source)), None)
    if switch is None:
        return f"{why}, and no variable turns that off. Use a model that answers without reasoning."
    return f"{why}. Set {field}: {{{switch}: false}} in the recipe."


def _find_footer(template: ChatTemplate) -> str:
    """The text after an answer if the template writes it only before another question, as GLM's do."""
    answered = template.render(_conversation(_SYSTEM, _QUESTIONS[0], _ANSWER), False).text
    if answered.rpartition(_ANSWER)[2].strip():
        return ""
    continued = template.render(_conversation(_SYSTEM, _QUESTIONS[0], _ANSWER, _QUESTIONS[1]), False).text
    following = continued.rpartition(_ANSWER)[2].partition(_QUESTIONS[1])[0].strip()
    return following if _CONTROL_TOKEN.fullmatch(following) else ""


def _require_same_texts(name: str, source: str, special_tokens: Mapping[str, str], changes: TemplateChanges) -> None:
    """Verify on conversations without a system prompt that the changes add header and footer, and alter nothing else."""
    values = {key: str(value) if key == NOW else value for key, value in changes.settings.items()}
    own = ChatTemplate(source, {**special_tokens, **values})
    built = ChatTemplate(changes.apply(source), special_tokens)
    for turns, added in ((1, changes.header), (2, changes.footer), (3, changes.header), (4, changes.footer)):
        conversation = _conversation(None, *((*_QUESTIONS[:1], _ANSWER) * 2)[:turns])
        is_prompt = bool(turns % 2)
        if built.render(conversation, is_prompt).text != own.render(conversation, is_prompt).text + added:
            raise UnusableTemplateError(f"{name}: its chat template can't be extended without changing its texts.")


def _render(name: str, template: ChatTemplate, conversation: list[Message], is_prompt: bool) -> str:
    try:
        return template.render(conversation, is_prompt).text
    except ModelFolderError as error:
        raise UnusableTemplateError(f"{name}: {error}") from None


def _conversation(system: str | None, *turns: str) -> list[Message]:
    messages: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    roles = ("user", "assistant")
    return [*messages, *({"role": roles[n % 2], "content": text} for n, text in enumerate(turns))]
