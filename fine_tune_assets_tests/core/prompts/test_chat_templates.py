"""A chat template is a stranger's program: it may take little time and memory, and can't quote a conversation in an error."""

import os
import threading

import pytest

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.prompts import chat_templates
from fine_tune_assets.core.prompts.chat_templates import ChatTemplate

CONVERSATION = [{"role": "user", "content": "Zyxwvutquark"}]
PLAIN = "{% for message in messages %}{{ message.content }}{% endfor %}"
ENDLESS = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 3000000000 }}",
        "{% for n in range(100000000) %}{{ n }}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaaaa') %}{% for n in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        "{{ 1 / 0 }}",
        "{{ messages[0].content.__class__.__mro__ }}",
        "{{ messages[7].content.x }}",
    ],
)
def test_a_template_above_a_limit_is_refused(source: str) -> None:
    """An import and a preflight must not run out of memory, nor end with a raw error."""
    with pytest.raises(ModelFolderError):
        ChatTemplate(source, {}).render(CONVERSATION, True)
    assert ChatTemplate(PLAIN, {}).render(CONVERSATION, True).text == "Zyxwvutquark"


def test_a_template_without_end_is_refused_and_the_next_one_renders() -> None:
    """The limit of CPU time ends its process."""
    with pytest.raises(ModelFolderError):
        ChatTemplate(ENDLESS, {}).render(CONVERSATION, True)
    assert ChatTemplate(PLAIN, {}).render(CONVERSATION, True).text == "Zyxwvutquark"


def test_a_refusal_quotes_the_template_alone() -> None:
    """The message of an error reaches logs."""
    with pytest.raises(ModelFolderError) as caught:
        ChatTemplate("{{ raise_exception(messages[0].content) }}", {}).render(CONVERSATION, True)
    assert "Zyxwvutquark" not in str(caught.value)
    with pytest.raises(ModelFolderError, match="Turns must alternate"):
        ChatTemplate("{{ raise_exception('Turns must alternate') }}", {}).render(CONVERSATION, True)


def test_templates_render_in_every_thread_and_after_a_fork() -> None:
    """A process ends with the thread that started it, and a forked process must not share it."""
    texts: list[str] = []

    def render() -> None:
        texts.append(ChatTemplate(PLAIN, {}).render(CONVERSATION, True).text)

    for _ in range(2):
        chat_templates._forget_renderer()
        thread = threading.Thread(target=render)
        thread.start()
        thread.join()
        render()
    child = os.fork()
    if not child:
        render()
        os._exit(0 if texts[-1] == "Zyxwvutquark" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    render()
    assert texts == ["Zyxwvutquark"] * 5
