"""Training templates: the chat templates of model families with marks around the assistant's words (`templates/*.jinja`).

Owns finding the one that renders as a model's own template does. By what it renders, not by its name: what is trained has to be
what is asked. Only for conversations without tools.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.fingerprints import fingerprint_folder
from fine_tune_assets.core.prompts.chat import Message
from fine_tune_assets.core.prompts.chat_templates import ChatTemplate

FOLDER = Path(__file__).with_name("templates")
OWN = "the model's own"
_TEXTS = ("Cough.", "  two  spaces \n", "line\n\nline", "<b>bold</b> & 'quoted'")


@dataclass(frozen=True)
class TrainingTemplate:
    name: str
    template: ChatTemplate


def training_template(chat_template: str, special_tokens: Mapping[str, str]) -> TrainingTemplate | None:
    """The model's own template if it has marks, else the shipped one that renders the same; None if there is neither."""
    return _chosen(chat_template, tuple(sorted(special_tokens.items())))


def templates_version() -> str:
    """Another one after an update that changed a template: examples are looked through again then."""
    return fingerprint_folder(FOLDER)


def shipped_templates() -> dict[str, Path]:
    return {path.stem: path for path in sorted(FOLDER.glob("*.jinja"))}


@lru_cache(maxsize=16)
def _chosen(chat_template: str, special_tokens: tuple[tuple[str, str], ...]) -> TrainingTemplate | None:
    own = ChatTemplate(chat_template, dict(special_tokens))
    if own.has_marks:
        return TrainingTemplate(OWN, own)
    for name, path in shipped_templates().items():
        shipped = ChatTemplate(path.read_text(encoding="utf-8"), dict(special_tokens))
        if renders_the_same(own, shipped):
            return TrainingTemplate(name, shipped)
    return None


def renders_the_same(own: ChatTemplate, shipped: ChatTemplate) -> bool:
    """On every probe that both take, as a prompt and with its answer; with at least one that has a system prompt."""
    taken = [probe for probe in _probes() if _takes(own, probe) and _takes(shipped, probe)]
    return (
        _probes()[0] in taken
        and all(_agree(own, shipped, probe) for probe in taken)
        and any(_is_prefix_kept(own, probe) for probe in taken)
    )


def _agree(own: ChatTemplate, shipped: ChatTemplate, probe: Sequence[Message]) -> bool:
    prompt, marked = own.render(probe[:-1], True).text, shipped.render(probe, False).text
    if shipped.render(probe[:-1], True).text != prompt or not marked.startswith(prompt):
        return False
    return marked == own.render(probe, False).text or not _is_prefix_kept(own, probe)


def _is_prefix_kept(own: ChatTemplate, probe: Sequence[Message]) -> bool:
    """Some templates write the prompt otherwise once the answer stands behind it; then the prompt is what counts."""
    return own.render(probe, False).text.startswith(own.render(probe[:-1], True).text)


def _takes(template: ChatTemplate, probe: Sequence[Message]) -> bool:
    """False if the template refuses such a conversation."""
    try:
        template.render(probe, False)
    except ModelFolderError:
        return False
    return True


@lru_cache(maxsize=1)
def _probes() -> list[list[Message]]:
    """Conversations with and without a system prompt, of one turn and of two."""
    found: list[list[Message]] = []
    for turns, is_system in product((1, 2), (True, False)):
        for text in _TEXTS:
            said: list[Message] = [{"role": "system", "content": f"System. {text}"}] if is_system else []
            for turn in range(turns):
                said += [
                    {"role": "user", "content": f"{text}{turn}"},
                    {"role": "assistant", "content": f"{turn}{text}"},
                ]
            found.append(said)
    return found
