"""Removes the reasoning that a model wrote before its answer."""

BLOCKS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|>"),
)
"""First and last token of the reasoning, as model families write it."""
_HEADERS = ("<|start|>assistant", "<|channel|>final<|message|>", "<|START_RESPONSE|>")
"""What a model may write between reasoning and answer."""


def strip_reasoning(text: str) -> str:
    """The answer alone. Reasoning without an answer is kept.

    >>> strip_reasoning("<think>A cough, so ...</think> Cough.")
    'Cough.'
    """
    answer = text
    for first, last in BLOCKS:
        start, found, rest = answer.partition(last)
        is_begun_by_prompt = first == "<think>" and first not in start
        if found and (is_begun_by_prompt or start.lstrip().startswith(first)):
            answer = rest
    for header in _HEADERS:
        if answer.lstrip().startswith(header):
            answer = answer.lstrip().removeprefix(header)
    return text if answer is text or not answer.strip() else answer.strip()
