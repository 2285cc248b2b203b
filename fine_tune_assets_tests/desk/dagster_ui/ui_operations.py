"""The GraphQL operations in the installed Dagster UI, each with its fragments, as its pages send them."""

import re
from collections.abc import Iterator
from pathlib import Path

import dagster_webserver
from graphql import DefinitionNode, FragmentDefinitionNode, GraphQLError, Visitor, parse, print_ast, visit

_START = re.compile(r"\b(?:fragment|query|subscription|mutation)\s+\w+[^{}]{0,3000}\{")


def read_ui_operations() -> dict[str, str]:
    """Name → document."""
    build = Path(dagster_webserver.__file__).parent / "webapp/build"
    nodes = [node for file in build.rglob("*.js") for node in _find_definitions(file.read_text("utf-8", "ignore"))]
    fragments = {node.name.value: node for node in nodes if isinstance(node, FragmentDefinitionNode)}
    operations = [node for node in nodes if not isinstance(node, FragmentDefinitionNode)]
    return {
        node.name.value: "\n".join(
            map(print_ast, [node, *(fragments[name] for name in _list_spreads(node, fragments))])
        )
        for node in operations
    }


def _find_definitions(script: str) -> Iterator[DefinitionNode]:
    for start in _START.finditer(script):
        depth, end = 1, start.end()
        while depth and end < min(len(script), start.end() + 60_000):
            depth += {"{": 1, "}": -1}.get(script[end], 0)
            end += 1
        try:
            yield from parse(script[start.start() : end].replace("\\n", "\n"), no_location=True).definitions
        except GraphQLError:  # a part of the script that only looks like one
            continue


class _Spreads(Visitor):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_fragment_spread(self, node: object, *_: object) -> None:
        self.names.add(node.name.value)  # type: ignore[attr-defined]


def _list_spreads(node: DefinitionNode, fragments: dict[str, FragmentDefinitionNode]) -> set[str]:
    found, pending = set[str](), [node]
    while pending:
        spreads = _Spreads()
        visit(pending.pop(), spreads)
        pending += [fragments[name] for name in spreads.names - found]
        found |= spreads.names
    return found
