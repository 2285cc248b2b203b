"""Finds every `fine-tune` and `make` call in the repository's texts and checks it against the real commands.

A call in a shell block must be complete and executable. A call in running text may name a command
alone.
"""

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.paths import PACKAGE_DIR, PROJECT_DIR

_SHELL_BLOCK = re.compile(r"^ *```(?:sh|bash|console)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_ANY_BLOCK = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_IN_HTML = re.compile(r"<code>([^<]+)</code>")
_PROGRAM = re.compile(r"(?:(?:\S*bin|X)/)?fine-tune")
_END = re.compile(r"[|<>&;()]+")
_PLACEHOLDER = "X"


@dataclass(frozen=True)
class Call:
    place: str
    words: tuple[str, ...]
    """The program and its arguments."""
    is_whole: bool
    """Whether the call must be executable unchanged."""


def all_calls() -> list[Call]:
    return [*_in_pages(), *_in_code(), *_in_comments(), *_in_templates()]


def _in_pages() -> Iterator[Call]:
    pages = [*PROJECT_DIR.glob("*.md"), *PROJECT_DIR.glob("docs/**/*.md"), *PROJECT_DIR.glob("data/**/*.md")]
    pages += [*PROJECT_DIR.glob("deploy/**/*.md"), *PROJECT_DIR.glob("benchmarks/**/*.md")]
    pages += PROJECT_DIR.glob("examples/**/*.md")
    for page in sorted(set(pages)):
        text, place = page.read_text(encoding="utf-8"), _place(page)
        for block in _SHELL_BLOCK.findall(text):
            yield from _calls_in_shell(block, place, is_whole=True)
        for inline in _INLINE.findall(_ANY_BLOCK.sub("", text)):
            yield from _calls_in_shell(inline, place, is_whole=False)


def _in_code() -> Iterator[Call]:
    """Text between backticks in any string of the package; an interpolated value counts as a placeholder."""
    for place, nodes in modules().items():
        for text in _texts(nodes):
            for inline in _INLINE.findall(text):
                yield from _calls_in_shell(inline, place, is_whole=False)
            for line in re.findall(r"\.venv/bin/fine-tune [^`\n]+", text):
                yield from _calls_in_shell(line, place, is_whole=False)


@cache
def modules() -> dict[str, list[ast.AST]]:
    """Syntax trees of the modules that mention a command."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(PACKAGE_DIR.rglob("*.py"))}
    mentions = re.compile(r"fine-tune|make |materiali", re.IGNORECASE)
    return {_place(path): list(ast.walk(ast.parse(text))) for path, text in texts.items() if mentions.search(text)}


def _in_comments() -> Iterator[Call]:
    """Comments, help and command lines of recipes, the Makefile and deployment files."""
    patterns = ("fine_tune_assets/recipes/*.yaml", "Makefile", "*.yaml", "deploy/**/*")
    files = [
        path for pattern in patterns for path in PROJECT_DIR.glob(pattern) if path.is_file() and path.suffix != ".md"
    ]
    for file in sorted(files):
        for line in file.read_text(encoding="utf-8").splitlines():
            code, _, comment = line.partition("#")
            for inline in _INLINE.findall(comment):
                yield from _calls_in_shell(inline, _place(file), is_whole=False)
            bare = re.search(r"(?<![`\w/-])fine-tune [a-z].*", _INLINE.sub("", comment))
            if bare:
                yield from _calls_in_shell(bare[0], _place(file), is_whole=False)
            run = re.search(r"\S*/fine-tune .*", code)
            if run:
                yield from _calls_in_shell(run[0], _place(file), is_whole=True)


def _in_templates() -> Iterator[Call]:
    for page in sorted(PACKAGE_DIR.rglob("*.html")):
        for inline in _IN_HTML.findall(page.read_text(encoding="utf-8")):
            yield from _calls_in_shell(inline, _place(page), is_whole=False)


def _place(path: Path) -> str:
    return path.relative_to(PROJECT_DIR).as_posix()


def _texts(nodes: list[ast.AST]) -> Iterator[str]:
    """Every string of a module, including docstrings; an f-string counts as one string."""
    inner: set[int] = set()
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            inner.update(id(part) for part in ast.walk(node) if part is not node)
            if id(node) not in inner:
                yield "".join(str(p.value) if isinstance(p, ast.Constant) else _PLACEHOLDER for p in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.value


def _calls_in_shell(text: str, place: str, *, is_whole: bool) -> Iterator[Call]:
    for line in re.sub(r"\\\n", " ", text).splitlines():
        # A command substitution is a value of the outer command and a separate call.
        for inside in re.findall(r"\$\(([^()]+)\)", line):
            yield from _calls_in_shell(inside, place, is_whole=is_whole)
        for words in _commands(re.sub(r"\$\([^()]+\)", _PLACEHOLDER, line)):
            at = next((i for i, word in enumerate(words) if _PROGRAM.fullmatch(word)), None)
            if at is not None:
                # A synopsis marks optional words with brackets.
                given = (word.strip("[]…") or word for word in words[at + 1 :] if word != "]")
                yield Call(place, ("fine-tune", *given), is_whole)
            elif words[:1] == ["make"]:
                yield Call(place, tuple(words), is_whole)


def _commands(line: str) -> Iterator[list[str]]:
    """Split a line into commands, each a list of words."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|<>&;()")
    lexer.whitespace_split, lexer.commenters = True, "#"
    command: list[str] = []
    try:
        for word in lexer:
            if _END.fullmatch(word):
                yield command
                command = []
            else:
                command.append(word)
    except ValueError:  # the quote ends on another line: a program in another language
        pass
    yield command


def what_is_wrong(call: Call) -> str:
    """Describe why the call is invalid; empty if it is valid."""
    return _wrong_target(call.words[1:]) if call.words[0] == "make" else _wrong_command(call)


def _wrong_target(words: tuple[str, ...]) -> str:
    known = set(re.findall(r"^([a-z][a-z-]*):", (PROJECT_DIR / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    targets = [word for word in words if "=" not in word and not word.startswith("-") and "…" not in word]
    return ", ".join(f"no target {target}" for target in targets if target not in known)


def _wrong_command(call: Call) -> str:
    command: click.Command = main
    context, words = click.Context(main, info_name="fine-tune", **main.context_settings), list(call.words[1:])
    while isinstance(command, click.Group) and words and not words[0].startswith("-") and words[0] != "…":
        found = command.get_command(context, words[0])
        if found is None:
            return f"no command {words[0]}"
        command, context = found, click.Context(found, parent=context, info_name=words.pop(0))
    if isinstance(command, click.Group):
        return (
            "names no command of the group"
            if call.is_whole and not words and not command.invoke_without_command and command is not main
            else ""
        )
    if (not words and not call.is_whole) or words[:1] == ["…"]:
        return ""
    try:
        given, left, _ = command.make_parser(context).parse_args(words)
    except click.UsageError as error:
        return error.format_message()
    return f"one argument too many: {left[0]}" if left else _wrong_values(command, given, is_whole=call.is_whole)


def _wrong_values(command: click.Command, given: dict[str, object], *, is_whole: bool) -> str:
    for parameter in command.params:
        value = given.get(parameter.name or "")
        is_given = isinstance(value, str | bool | tuple | list) and value not in ((), [])
        if parameter.required and not is_given and (is_whole or isinstance(parameter, click.Argument)):
            return f"{parameter.human_readable_name} is missing"
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, str) and not _is_choice(parameter.type, one):
                return f"{one} is not a valid value of {parameter.human_readable_name}"
    return ""


def _is_choice(kind: click.ParamType, value: str) -> bool:
    if not isinstance(kind, click.Choice) or is_placeholder(value):
        return True
    choices = {str(choice) for choice in kind.choices}
    return value in choices or (not kind.case_sensitive and value.casefold() in map(str.casefold, choices))


def is_placeholder(word: str) -> bool:
    return not re.search(r"[a-z0-9]", word) or "$" in word or "…" in word
