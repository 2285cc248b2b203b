"""The gateway's OpenAPI document with default settings."""

import copy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.gateway.gateway_app import create_app
from fine_tune_assets.gateway.requests.openapi import build_openapi


def gateway_document() -> dict[str, Any]:
    return copy.deepcopy(_document())


@cache
def _document() -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        return build_openapi(create_app(Settings(data_dir=Path(folder))), 2048)


def inlined(node: Any, document: dict[str, Any]) -> Any:
    """A schema of the document with references inlined."""
    if isinstance(node, list):
        return [inlined(each, document) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return inlined(document["components"]["schemas"][node["$ref"].rpartition("/")[2]], document)
    return {key: inlined(value, document) for key, value in node.items() if key != "discriminator"}
