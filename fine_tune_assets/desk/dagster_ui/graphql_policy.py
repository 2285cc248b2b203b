"""Decides which GraphQL operations a user may send to Dagster, from the parsed document.

Default deny: one operation per request, its mutations must be listed in MUTATIONS, and the user's roles must permit each of them.
Fragments and aliases are resolved. A launch must not bring run configuration, nor tags other than ALLOWED_TAGS: both could change
what a gate checks or how a process is started. All product lines share one Dagster UI: users change their own line only.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    Visitor,
    parse,
    value_from_ast_untyped,
    visit,
)

from fine_tune_assets.core.dagster_ui import ASSET_JOB, code_location
from fine_tune_assets.core.permissions import PERMISSIONS, Action, may

MAX_BODY_BYTES = 1_000_000
MAX_TOKENS = 20_000
"""Of a document. The UI's largest query has about 3,000."""
MAX_FIELDS = 2_000
"""Of an operation, with each fragment written out where it is used. The UI's largest operation has about 640."""
MAX_REPEATS = 5
"""Of one field under several aliases in one place: Dagster computes each. The UI repeats none more than twice."""
MUTATIONS: Mapping[str, Action] = {
    **dict.fromkeys(
        (
            "launchPipelineExecution", "launchRun", "launchMultipleRuns", "launchPipelineReexecution", "launchRunReexecution",
            "launchPartitionBackfill", "resumePartitionBackfill", "reexecutePartitionBackfill",
        ),
        Action.LAUNCH_RUNS,
    ),
    **dict.fromkeys(
        ("terminatePipelineExecution", "terminateRun", "terminateRuns", "cancelPartitionBackfill"), Action.TERMINATE_RUNS
    ),
    **dict.fromkeys(
        (
            "startSchedule", "stopRunningSchedule", "resetSchedule", "startSensor", "stopSensor", "resetSensor",
            "setAutoMaterializePaused",
        ),
        Action.TOGGLE_AUTOMATION,
    ),
    **dict.fromkeys(
        ("setConcurrencyLimit", "deleteConcurrencyLimit", "freeConcurrencySlots", "freeConcurrencySlotsForRun"),
        Action.EDIT_POOLS,
    ),
    **dict.fromkeys(("reloadRepositoryLocation", "reloadWorkspace"), Action.RELOAD_CODE),
    **dict.fromkeys(
        (
            "sensorDryRun", "scheduleDryRun",  # they run the sensor: the one for notifications would send them
            "wipeAssets", "deleteRun", "deletePipelineRun", "reportRunlessAssetEvents", "reportAssetCheckEvaluations",
            "addDynamicPartition", "deleteDynamicPartitions", "setSensorCursor", "shutdownRepositoryLocation",
            "setAppManagedComponent", "deleteAppManagedComponent", "refreshComponentState", "logTelemetry", "setNuxSeen",
        ),
        Action.CHANGE_DAGSTER_RECORDS,
    ),
}  # fmt: skip
"""Every mutation of the tested Dagster version. A mutation of a later version is refused until it is listed."""
INTERNAL_FIELDS = frozenset({"capturedLogs", "capturedLogsMetadata", "logEvents", "info"})
"""Output of processes, and `instance { info }`: the instance's configuration, which may contain a database password."""
EXECUTING_FIELDS = frozenset({"evaluationResult"})
"""Fields of queries that run a sensor or schedule."""
ALLOWED_TAGS = frozenset(
    {
        "dagster/partition",
        "dagster/partition_set",
        "dagster/asset_partition_range_start",
        "dagster/asset_partition_range_end",
        "dagster/backfill",
        "dagster/from_ui",
        "dagster/is_resume_retry",
        "dagster/parent_run_id",
        "dagster/root_run_id",
        "dagster/priority",
        "dagster/solid_selection",
        "dagster/step_selection",
    }
)
"""Others can change how a run is started, for instance its pod under Kubernetes."""
_SUBJECT_FIELDS = frozenset(
    {
        "jobName", "pipelineName", "runId", "runIds", "parentRunId", "backfillId", "sensorName", "scheduleName",
        "concurrencyKey", "limit", "paused", "id", "partitionSetName", "partitionNames", "allPartitions", "start", "end",
        "stepKey", "stepKeys", "solidSelection", "reexecutionSteps", "strategy", "terminatePolicy",
        *(ALLOWED_TAGS - {"dagster/from_ui"}),
    }
)  # fmt: skip
LOCATED_MUTATIONS = frozenset(
    {
        "launchPipelineExecution", "launchRun", "launchMultipleRuns", "launchPartitionBackfill", "startSchedule", "resetSchedule",
        "startSensor", "resetSensor", "reloadRepositoryLocation",
    }
)  # fmt: skip
"""Mutations that name a code location, or assets. Others name a run, backfill, sensor or pool by its id, or nothing."""
_LOCATION_FIELDS = frozenset({"repositoryLocationName", "locationName"})
_MAX_NAME_CHARACTERS = 200
_MAX_SUBJECT_CHARACTERS = 20_000


class RefusedOperationError(Exception):
    """The message is for the user, and contains no text of the request except names of mutations."""

    def __init__(self, message: str, status: int = 403) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Sender:
    """The user who sends an operation."""

    roles: Collection[str]
    line: str
    """The product line at which they are signed in; empty: the main line."""
    other_lines: Collection[str]
    """The further lines except this one. Keys of their assets start with their names."""


@dataclass(frozen=True)
class Mutation:
    name: str
    subject: str
    """Assets, runs, batches, sensors or pools, for the audit log."""


@dataclass(frozen=True)
class Operation:
    """A permitted operation."""

    body: Mapping[str, Any]
    """Query, variables and operation name, as they were checked; send nothing else."""
    mutations: tuple[Mutation, ...]


def check_operation(content: bytes, sender: Sender) -> Operation:
    """Raises RefusedOperationError."""
    if len(content) > MAX_BODY_BYTES:
        raise RefusedOperationError("The request is too large.", 413)
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise RefusedOperationError("The request is not JSON.", 400) from None
    return check_body(body, sender, {OperationType.QUERY, OperationType.MUTATION})


def check_body(body: Any, sender: Sender, kinds: Collection[OperationType]) -> Operation:
    """Raises RefusedOperationError."""
    query, variables, name = _read_body(body)
    try:
        variables = _drop_inherited_tags(variables)
    except RecursionError:
        raise RefusedOperationError("The variables are nested too deeply.", 400) from None
    document, operation = _parse(query, name)
    if operation.operation not in kinds:
        raise RefusedOperationError(f"A {operation.operation.value} is not accepted here.", 400)
    _require_permitted_fields(document, sender)
    _CostCheck(document).require_affordable(operation)
    mutations: tuple[Mutation, ...] = ()
    if operation.operation is OperationType.MUTATION:
        values = _read_defaults(operation) | variables
        fields = [field for field in _list_root_fields(document, operation) if field.name.value != "__typename"]
        if not fields:
            raise RefusedOperationError("The document contains no mutation.", 400)
        mutations = tuple(_check_mutation(field, values, sender) for field in fields)
    return Operation({"query": query, "variables": variables, "operationName": name}, mutations)


def _read_body(body: Any) -> tuple[str, dict[str, Any], str | None]:
    if not isinstance(body, dict) or not isinstance(body.get("query"), str):
        raise RefusedOperationError("Send one GraphQL document as JSON; batches and stored queries are refused.", 400)
    variables, name = body.get("variables") or {}, body.get("operationName")
    if not isinstance(variables, dict) or not isinstance(name, str | None):
        raise RefusedOperationError("variables must be an object and operationName a string.", 400)
    return body["query"], variables, name


def _parse(query: str, name: str | None) -> tuple[DocumentNode, OperationDefinitionNode]:
    try:
        document = parse(query, no_location=True, max_tokens=MAX_TOKENS)
    except (GraphQLError, RecursionError):
        raise RefusedOperationError("The document is not valid GraphQL.", 400) from None
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    known = all(isinstance(node, OperationDefinitionNode | FragmentDefinitionNode) for node in document.definitions)
    if not known or len(operations) != 1:
        raise RefusedOperationError("A document must contain exactly one operation.", 400)
    (operation,) = operations
    if name is not None and (operation.name is None or operation.name.value != name):
        raise RefusedOperationError("operationName names no operation of the document.", 400)
    return document, operation


def _list_root_fields(document: DocumentNode, operation: OperationDefinitionNode) -> list[FieldNode]:
    """Including the fields of fragments, each fragment once, as Dagster does. Aliases keep the field's name.

    Raises RefusedOperationError for an unknown fragment.
    """
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    found: list[FieldNode] = []
    used: set[str] = set()
    pending: list[SelectionSetNode] = [operation.selection_set]
    while pending:
        for node in pending.pop().selections:
            if isinstance(node, FieldNode):
                found.append(node)
            elif isinstance(node, InlineFragmentNode):
                pending.append(node.selection_set)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in used:
                if node.name.value not in fragments:
                    raise RefusedOperationError("A fragment is missing.", 400)
                used.add(node.name.value)
                pending.append(fragments[node.name.value].selection_set)
    return found


def _read_defaults(operation: OperationDefinitionNode) -> dict[str, Any]:
    return {
        definition.variable.name.value: value_from_ast_untyped(definition.default_value)
        for definition in operation.variable_definitions
        if definition.default_value is not None
    }


def _check_mutation(field: FieldNode, variables: Mapping[str, Any], sender: Sender) -> Mutation:
    name = field.name.value
    action = MUTATIONS.get(name, Action.CHANGE_DAGSTER_RECORDS)
    if not may(sender.roles, action):
        allowed = " or ".join(sorted(PERMISSIONS[action].roles))
        who = f"only the role {allowed} may" if allowed else "no role may"
        raise RefusedOperationError(f"{_make_plain(name[:100])} is refused: {who} {PERMISSIONS[action].meaning} here.")
    if field.directives:
        raise RefusedOperationError("A mutation with directives is refused.", 400)
    arguments = {given.name.value: _read_value(given.value, variables) for given in field.arguments}
    if action is Action.LAUNCH_RUNS:
        _require_plain_launch(arguments)
    _require_own_line(name, arguments, sender)
    return Mutation(name, _describe(arguments))


def _read_value(node: Any, variables: Mapping[str, Any]) -> Any:
    try:
        return value_from_ast_untyped(node, dict(variables))
    except RecursionError:
        raise RefusedOperationError("An argument is nested too deeply.", 400) from None


def _require_plain_launch(arguments: Any) -> None:
    for name, value in _walk(arguments):
        if name == "runConfigData" and not _is_empty_config(value):
            raise RefusedOperationError(
                "Runs are launched without run configuration. Recipe and settings hold every choice; change them there."
            )
        if name == "forceSynchronousSubmission" and value:
            raise RefusedOperationError("Backfills are submitted by the daemon.")
        if name in ("tags", "extraTags"):
            entries = value if isinstance(value, list) else [value]
            keys = [entry.get("key") if isinstance(entry, dict) else entry for entry in entries if entry is not None]
            if not all(isinstance(key, str) and key in ALLOWED_TAGS for key in keys):
                raise RefusedOperationError(
                    "Runs are launched without additional tags: a tag can change how a run is started."
                )


def _require_own_line(name: str, arguments: Any, sender: Sender) -> None:
    """What a mutation names must belong to the sender's line. Only the main line's users send one that names no location."""
    named = list(_walk(arguments))
    locations = [value for field, value in named if field in _LOCATION_FIELDS]
    assets = [_to_list(value) for field, value in named if field == "path"]
    if sender.line and (name not in LOCATED_MUTATIONS or not (locations or assets)):
        raise RefusedOperationError(
            f"{name} is refused: it names no code location, so it could change other product lines. "
            "Ask an operator of the main line."
        )
    if any(location != code_location(sender.line) for location in locations) or not all(
        _is_own_asset(path, sender) for path in assets
    ):
        raise RefusedOperationError(
            f"{name} is refused: it concerns another product line. Switch to that line on the desk and sign in there."
        )


def _to_list(value: Any) -> list[Any]:
    """GraphQL accepts a single value in place of a list."""
    return value if isinstance(value, list) else [value]


def _is_own_asset(path: list[Any], sender: Sender) -> bool:
    first = path[0] if path else ""
    return first == sender.line if sender.line else first not in sender.other_lines


def _is_empty_config(value: Any) -> bool:
    return value in (None, {}) or (isinstance(value, str) and re.sub(r"\s", "", value) in ("", "{}"))


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every named value in nested arguments; of a tag, also its value by its key."""
    if isinstance(value, dict):
        if isinstance(value.get("key"), str):
            yield value["key"], value.get("value")
        for name, inner in value.items():
            yield name, inner
            yield from _walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner)


def _describe(arguments: Any) -> str:
    """Raises RefusedOperationError for names so long that they would hide others in the audit log."""
    found: dict[str, list[str]] = {}
    for name, value in _walk(arguments):
        if name == "path":
            found.setdefault("assets", []).append("/".join(map(str, _to_list(value))))
        elif name in _SUBJECT_FIELDS and value not in (None, ASSET_JOB) and not isinstance(value, dict):
            found.setdefault(name, []).extend(map(str, value if isinstance(value, list) else [value]))
    text = "; ".join(f"{name} {', '.join(dict.fromkeys(values))}" for name, values in found.items())
    longest = max((len(value) for values in found.values() for value in values), default=0)
    if longest > _MAX_NAME_CHARACTERS or len(text) > _MAX_SUBJECT_CHARACTERS:
        raise RefusedOperationError("The request names too much at once, or a name is too long.", 413)
    return _make_plain(text)


def _make_plain(text: str) -> str:
    return re.sub(r"[^\w ,;:./@-]", "?", text)


_Answer = tuple[str, str]
"""Alias, otherwise name, and name of a field."""


class _CostCheck:
    """Counts the fields of an operation without writing its fragments out."""

    def __init__(self, document: DocumentNode) -> None:
        fragments = [node for node in document.definitions if isinstance(node, FragmentDefinitionNode)]
        self._fragments = {node.name.value: node.selection_set for node in fragments}
        self._counted: dict[str, tuple[int, frozenset[_Answer]]] = {}

    def require_affordable(self, operation: OperationDefinitionNode) -> None:
        """Raises RefusedOperationError."""
        try:
            fields, _ = self._count(operation.selection_set)
        except (RecursionError, KeyError):  # a fragment contains itself or is missing
            raise RefusedOperationError("The fragments of the document can't be resolved.", 400) from None
        if fields > MAX_FIELDS:
            raise RefusedOperationError(f"The operation has more than {MAX_FIELDS} fields.", 413)

    def _count(self, selection_set: SelectionSetNode) -> tuple[int, frozenset[_Answer]]:
        """All fields, and what is answered in this place: a field that several fragments ask for is answered once."""
        total, answers = 0, set[_Answer]()
        for node in selection_set.selections:
            if isinstance(node, FieldNode):
                total += 1 + (self._count(node.selection_set)[0] if node.selection_set else 0)
                answers.add(((node.alias or node.name).value, node.name.value))
            else:
                inner, found = self._count_fragment(node)
                total += inner
                answers |= found
        names = Counter(name for _, name in answers)
        if names and max(names.values()) > MAX_REPEATS:
            raise RefusedOperationError(f"The operation asks for one field more than {MAX_REPEATS} times.", 413)
        return total, frozenset(answers)

    def _count_fragment(self, node: Any) -> tuple[int, frozenset[_Answer]]:
        if isinstance(node, InlineFragmentNode):
            return self._count(node.selection_set)
        name = node.name.value
        if name not in self._counted:
            self._counted[name] = self._count(self._fragments[name])
        return self._counted[name]


class _FieldNames(Visitor):  # type: ignore[misc]
    """Collects the names of all fields, at any depth and in fragments."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        self.found.add(node.name.value)


def _require_permitted_fields(document: DocumentNode, sender: Sender) -> None:
    names = _FieldNames()
    visit(document, names)
    if names.found & EXECUTING_FIELDS:
        raise RefusedOperationError("Sensors and schedules are run by the daemon only.")
    if names.found & INTERNAL_FIELDS and not may_read_output(sender):
        raise RefusedOperationError(
            "Only the role operator of the main line may see output of processes and the instance configuration."
        )


def may_read_output(sender: Sender) -> bool:
    """Output of processes belongs to no line: what one line's run printed must not reach another line's operators."""
    return may(sender.roles, Action.READ_COMPUTE_LOGS) and not sender.line


def _drop_inherited_tags(value: Any) -> Any:
    """The UI re-executes steps with the parent's tags, also those of sensors and retries: only permitted ones are passed on."""
    if isinstance(value, list):
        return [_drop_inherited_tags(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    kept = {name: _drop_inherited_tags(inner) for name, inner in value.items()}
    if kept.get("parentRunId") and isinstance(kept.get("tags"), list):
        kept["tags"] = [tag for tag in kept["tags"] if not isinstance(tag, dict) or tag.get("key") in ALLOWED_TAGS]
    return kept
