"""Finds the training template for a model: a chat template with marks around the assistant's answers (`templates/*.jinja`).

Templates match by their rendering, not by name, so that training and inference prompts are the same. Tool conversations are not
supported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.fingerprints import fingerprint_folder
from fine_tune_assets.core.prompts.chat_templates import ChatTemplate
from fine_tune_assets.core.prompts.conversations import Message

TEMPLATES_FOLDER = Path(__file__).with_name("templates")
OWN_TEMPLATE = "model"
_PROBE_TEXTS = ("Cough.", "  two  spaces \n", "line\n\nline", "<b>bold</b> & 'quoted'")


@dataclass(frozen=True)
class TrainingTemplate:
    name: str
    template: ChatTemplate


def find_training_template(chat_template: str, special_tokens: Mapping[str, str]) -> TrainingTemplate | None:
    """The model's own template if it has marks, else a shipped one with the same rendering; None if there is neither."""
    return _find_template(chat_template, tuple(sorted(special_tokens.items())))


def templates_version() -> str:
    """A fingerprint that changes with any template, so that preflights run again after an update."""
    return fingerprint_folder(TEMPLATES_FOLDER)


def shipped_templates() -> dict[str, Path]:
    return {path.stem: path for path in sorted(TEMPLATES_FOLDER.glob("*.jinja"))}


@lru_cache(maxsize=16)
def _find_template(chat_template: str, special_tokens: tuple[tuple[str, str], ...]) -> TrainingTemplate | None:
    own = ChatTemplate(chat_template, dict(special_tokens))
    if own.has_generation_marks:
        return TrainingTemplate(OWN_TEMPLATE, own)
    for name, path in shipped_templates().items():
        shipped = ChatTemplate(path.read_text(encoding="utf-8"), dict(special_tokens))
        if has_same_rendering(own, shipped):
            return TrainingTemplate(name, shipped)
    return None


def has_same_rendering(own: ChatTemplate, shipped: ChatTemplate) -> bool:
    """Compares prompt and conversation for every probe that both accept; at least one of them must have a system prompt."""
    accepted = [probe for probe in _probe_conversations() if _accepts(own, probe) and _accepts(shipped, probe)]
    return (
        _probe_conversations()[0] in accepted
        and all(_has_same_prompt(own, shipped, probe) for probe in accepted)
        and any(_is_prefix_kept(own, probe) for probe in accepted)
    )


def _has_same_prompt(own: ChatTemplate, shipped: ChatTemplate, probe: Sequence[Message]) -> bool:
    prompt, marked = own.render(probe[:-1], True).text, shipped.render(probe, False).text
    if shipped.render(probe[:-1], True).text != prompt or not marked.startswith(prompt):
        return False
    return marked == own.render(probe, False).text or not _is_prefix_kept(own, probe)


def _is_prefix_kept(own: ChatTemplate, probe: Sequence[Message]) -> bool:
    """Some templates render the prompt differently when an answer follows; then only the prompt is compared."""
    return own.render(probe, False).text.startswith(own.render(probe[:-1], True).text)


def _accepts(template: ChatTemplate, probe: Sequence[Message]) -> bool:
    """Whether the template renders such a conversation."""
    try:
        template.render(probe, False)
    except ModelFolderError:
        return False
    return True


@lru_cache(maxsize=1)
def _probe_conversations() -> list[list[Message]]:
    """Conversations with and without a system prompt, of one turn and of two."""
    conversations: list[list[Message]] = []
    for turns, is_system in product((1, 2), (True, False)):
        for text in _PROBE_TEXTS:
            conversation: list[Message] = [{"role": "system", "content": f"System. {text}"}] if is_system else []
            for turn in range(turns):
                conversation += [
                    {"role": "user", "content": f"{text}{turn}"},
                    {"role": "assistant", "content": f"{turn}{text}"},
                ]
            conversations.append(conversation)
    return conversations
