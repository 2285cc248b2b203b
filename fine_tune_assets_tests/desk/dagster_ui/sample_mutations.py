"""One valid document for each of Dagster's mutations, built from its schema. What they name does not exist."""

from dagster_graphql.schema import create_schema
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    get_named_type,
    is_leaf_type,
    is_required_argument,
    is_required_input_field,
)

from fine_tune_assets.core.dagster_ui import DEFINITIONS

_VALUES = {"Int": "1", "Float": "1", "Boolean": "false", "RunConfigData": '"{}"'}
_LOCATIONS = ("repositoryLocationName", "locationName")


def write_sample_mutations() -> dict[str, str]:
    """Name → document, with the required arguments only."""
    mutations = create_schema().graphql_schema.mutation_type
    assert mutations is not None
    documents = {}
    for name, field in mutations.fields.items():
        arguments = [
            f"{argument}: {_write_value(argument, given.type)}"
            for argument, given in field.args.items()
            if is_required_argument(given)
        ]
        call = f"{name}({', '.join(arguments)})" if arguments else name
        selection = "" if is_leaf_type(get_named_type(field.type)) else " { __typename }"
        documents[name] = f"mutation {{ {call}{selection} }}"
    return documents


def _write_value(name: str, kind: GraphQLInputType) -> str:
    if isinstance(kind, GraphQLNonNull):
        return _write_value(name, kind.of_type)
    if isinstance(kind, GraphQLList):
        return f"[{_write_value(name, kind.of_type)}]"
    if isinstance(kind, GraphQLEnumType):
        return next(iter(kind.values))
    if isinstance(kind, GraphQLInputObjectType):
        required = [
            f"{inner}: {_write_value(inner, field.type)}"
            for inner, field in kind.fields.items()
            if is_required_input_field(field)
        ]
        return f"{{{', '.join(required)}}}"
    return f'"{DEFINITIONS}"' if name in _LOCATIONS else _VALUES.get(str(kind), '"no-such-name"')
