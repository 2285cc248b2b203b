"""Validates JSON schemas in a recipe. `judging/evaluation/` checks answers against them."""

from typing import Any


def require_schema(schema: dict[str, Any]) -> None:
    """Raises ValueError for a schema that would be understood otherwise than it is meant, or that looks elsewhere."""
    # Imported here: every step process loads the recipe, and few recipes have a schema.
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"json_schema is no JSON schema: {error.message}") from error
    if any(not reference.startswith("#") for reference in _references(schema)):
        raise ValueError("json_schema refers to another file or address: write all of it here")


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for inner in value.values() for found in _references(inner)]
    return [found for inner in value for found in _references(inner)] if isinstance(value, list) else []
