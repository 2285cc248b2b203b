"""Which GraphQL operations each role may send to Dagster. Everything that is not listed is refused."""

import json
import time
from typing import Any

import pytest
from dagster_graphql.schema import create_schema
from graphql import GraphQLList, GraphQLNonNull, OperationType

from fine_tune_assets.core.dagster_ui import DEFINITIONS
from fine_tune_assets.core.permissions import PERMISSIONS, ROLES, Action
from fine_tune_assets.desk.dagster_ui.graphql_policy import (
    LOCATED_MUTATIONS,
    MAX_REPEATS,
    MAX_TOKENS,
    MUTATIONS,
    Operation,
    RefusedOperationError,
    Sender,
    check_body,
    check_operation,
)
from fine_tune_assets_tests.desk.dagster_ui.ui_operations import read_ui_operations

VIEWERS = ("approver", "auditor")
OPERATOR = ["operator"]
LINES = frozenset({"law", "finance"})
LAUNCH = "mutation L($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) { __typename } }"


def user(roles: Any = OPERATOR, line: str = "") -> Sender:
    return Sender(roles, line, LINES - {line})


def send(query: str, roles: Any = OPERATOR, line: str = "", **body: Any) -> Operation:
    return check_operation(json.dumps({"query": query} | body).encode(), user(roles, line))


def launch(roles: Any = OPERATOR, line: str = "", **params: Any) -> Operation:
    selector = {
        "repositoryName": "r",
        "repositoryLocationName": DEFINITIONS,
        "assetSelection": [{"path": ["recipe", "gate"]}],
    }
    return send(LAUNCH, roles, line, variables={"p": {"selector": selector, "mode": "default"} | params})


def test_every_mutation_of_the_installed_dagster_is_listed() -> None:
    """A later version may add one: it is refused until somebody decides who may use it."""
    schema = create_schema().graphql_schema
    assert schema.mutation_type is not None
    assert set(schema.mutation_type.fields) == set(MUTATIONS)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_a_role_sends_exactly_its_mutations(role: str, name: str) -> None:
    """The matrix of roles and actions decides, for each of Dagster's mutations."""
    query = f"mutation {{ {name} {{ __typename }} }}"
    if role in PERMISSIONS[MUTATIONS[name]].roles:
        assert [mutation.name for mutation in send(query, [role]).mutations] == [name]
    else:
        with pytest.raises(RefusedOperationError) as caught:
            send(query, [role])
        assert caught.value.status == 403


@pytest.mark.parametrize(
    "query",
    [
        "mutation { wipeAssets { __typename } }",
        "mutation { harmless: wipeAssets { __typename } }",
        "mutation { launchRun: wipeAssets { __typename } }",
        "mutation { ... { wipeAssets { __typename } } }",
        "mutation { ... on Mutation @include(if: true) { wipeAssets { __typename } } }",
        "mutation { ...a } fragment a on Mutation { ...b } fragment b on Mutation { wipeAssets { __typename } }",
        "mutation { wipeAssets @skip(if: true) { __typename } }",
        "mutation { reloadWorkspace { __typename } wipeAssets { __typename } }",
        "mutation { addedInALaterVersion { __typename } }",
        "mutation { WipeAssets { __typename } }",
        "mutation W($x: Int = 1) { wipeAssets(limit: $x) { __typename } }",
    ],
)
def test_a_refused_mutation_stays_refused_however_it_is_written(query: str) -> None:
    """Aliases, fragments and directives are resolved before the decision."""
    with pytest.raises(RefusedOperationError) as caught:
        send(query)
    assert caught.value.status == 403


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b'[{"query": "{ version }"}, {"query": "mutation { wipeAssets { __typename } }"}]',
        b'{"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0"}}}',
        b'{"query": 1}',
        b'{"query": "{ version }", "variables": "{}"}',
        b'{"query": "{ version }", "operationName": 1}',
        b'{"query": "{ version "}',
        b'{"query": "{ version } { version }"}',
        b'{"query": "query A { version } mutation B { reloadWorkspace { __typename } }", "operationName": "A"}',
        b'{"query": "query A { version }", "operationName": "B"}',
        b'{"query": "mutation { ...a } fragment a on Mutation { ...a }"}',
        b'{"query": "mutation { ...missing }"}',
        b'{"query": "type Mutation { a: Int }"}',
        b'{"query": "subscription { capturedLogs { stdout } }"}',
        json.dumps({"query": "{" + "a{" * 5000 + "b" + "}" * 5001}).encode(),
        json.dumps({"query": "{" + "a " * (MAX_TOKENS + 1) + "}"}).encode(),
        b'{"query": "{ version }", "variables": ' + b'{"a":' * 900 + b"1" + b"}" * 901,
        b"[" * 100_000,
        b"not json",
    ],
)
def test_a_request_other_than_one_plain_operation_is_refused(content: bytes) -> None:
    """Batches, stored documents and several operations could hide one from the decision."""
    with pytest.raises(RefusedOperationError) as caught:
        check_operation(content, user())
    assert caught.value.status == 400


def test_a_body_that_is_too_large_is_refused() -> None:
    with pytest.raises(RefusedOperationError) as caught:
        check_operation(b" " * 1_000_001, user())
    assert caught.value.status == 413


@pytest.mark.parametrize("config", [None, {}, "", "{}", " {}\n"])
def test_a_launch_without_run_configuration_is_permitted(config: Any) -> None:
    """What the UI sends for Materialize. Its assets are in the audit log."""
    (mutation,) = launch(runConfigData=config).mutations
    assert mutation.subject == "assets recipe/gate"


@pytest.mark.parametrize(
    "params",
    [
        {"runConfigData": {"ops": {"adapters": {"config": {"epochs": 9}}}}},
        {"runConfigData": "loggers: {}"},
        {"executionMetadata": {"tags": [{"key": "dagster-k8s/config", "value": "{}"}]}},
        {"executionMetadata": {"tags": [{"key": "trigger", "value": "x"}]}},
        {"executionMetadata": {"tags": [{"value": "x"}]}},
        {"executionMetadata": {"tags": {"key": "dagster-k8s/config", "value": "{}"}}},
    ],
)
def test_a_launch_with_run_configuration_or_foreign_tags_is_refused(params: dict[str, Any]) -> None:
    """Tags rewrite the pod under a Kubernetes launcher, and configuration could change what a gate checks."""
    with pytest.raises(RefusedOperationError) as caught:
        launch(**params)
    assert caught.value.status == 403


@pytest.mark.parametrize(
    "query",
    [
        "mutation { launchRun(executionParams: {runConfigData: {a: 1}}) { __typename } }",
        'mutation M($t: String = "dagster-k8s/config") '
        '{ launchRun(executionParams: {executionMetadata: {tags: [{key: $t, value: "x"}]}}) { __typename } }',
        'mutation { launchMultipleRuns(executionParamsList: [{}, {runConfigData: "a: 1"}]) { __typename } }',
        'mutation { launchPartitionBackfill(backfillParams: {tags: [{key: "a", value: "b"}]}) { __typename } }',
        'mutation { launchRunReexecution(reexecutionParams: {parentRunId: "r", strategy: ALL_STEPS, '
        'extraTags: [{key: "a", value: "b"}]}) { __typename } }',
    ],
)
def test_literals_defaults_and_every_kind_of_launch_are_checked(query: str) -> None:
    with pytest.raises(RefusedOperationError) as caught:
        send(query)
    assert caught.value.status == 403


def test_the_tags_of_a_partition_and_of_a_re_execution_are_permitted() -> None:
    tags = [{"key": "dagster/partition", "value": "b"}, {"key": "dagster/root_run_id", "value": "r"}]
    assert launch(executionMetadata={"tags": tags}).mutations


@pytest.mark.parametrize(
    "query",
    [
        "{ capturedLogs(logKey: []) { stdout } }",
        "{ logs: capturedLogsMetadata(logKey: []) { stdoutLocation } }",
        '{ runOrError(runId: "r") { ... on Run { capturedLogs(fileKey: "x") { stdout } } } }',
        "{ instance { ...i } } fragment i on Instance { info }",
    ],
)
@pytest.mark.parametrize("role", VIEWERS)
def test_output_of_processes_and_configuration_are_for_operators(query: str, role: str) -> None:
    """Output of a worker may quote what a library printed; the configuration may hold a password."""
    assert send(query, OPERATOR)
    with pytest.raises(RefusedOperationError):
        send(query, [role])


@pytest.mark.parametrize("role", VIEWERS)
def test_viewers_may_query_and_subscribe(role: str) -> None:
    assert send("query A { version }", [role], operationName="A").mutations == ()
    subscription = {"query": "subscription { locationStateChangeEvents { __typename } }"}
    assert check_body(subscription, user([role]), {OperationType.SUBSCRIPTION})
    with pytest.raises(RefusedOperationError):
        check_body({"query": "mutation { reloadWorkspace { __typename } }"}, user(), {OperationType.SUBSCRIPTION})


@pytest.mark.parametrize("levels", [40, 2000])
@pytest.mark.parametrize("width", [1, 2])
def test_fragments_of_fragments_take_no_time(levels: int, width: int) -> None:
    """Each fragment is read once. Otherwise 1,300 bytes of a viewer would stop the desk for minutes."""
    parts = [f"fragment f{n} on Mutation {{ {f'...f{n + 1} ' * width} }}" for n in range(levels)]
    last = f"fragment f{levels} on Mutation {{ wipeAssets {{ __typename }} }}"
    began = time.monotonic()
    with pytest.raises(RefusedOperationError):
        send(" ".join(["mutation { ...f0 }", *parts, last]), ["auditor"])
    assert time.monotonic() - began < 20  # minutes against milliseconds


def aliases(count: int, field: str = "runsOrError { __typename }") -> str:
    return " ".join(f"a{number}: {field}" for number in range(count))


def doubling(levels: int) -> str:
    parts = [f"fragment f{n} on Run {{ a {{ ...f{n + 1} }} b {{ ...f{n + 1} }} }}" for n in range(levels)]
    return " ".join(["{ run { ...f0 } }", *parts, f"fragment f{levels} on Run {{ id }}"])


WIDE = " ".join(f"f{number}" for number in range(200))


@pytest.mark.parametrize(
    "query",
    [
        f"{{ {aliases(200)} }}",
        f"{{ {aliases(MAX_REPEATS + 1)} }}",
        f"{{ version {{ {aliases(MAX_REPEATS + 1)} }} }}",
        f"{{ {aliases(MAX_REPEATS - 1)} ... {{ b: runsOrError {{ id }} }} ...f }} fragment f on Query {{ runsOrError {{ id }} }}",
        f"{{ {' '.join(f'g{number} {{ {WIDE} }}' for number in range(11))} }}",
        doubling(60),
    ],
    ids=["200 aliases", "aliases", "nested", "fragments", "many fields", "doubling"],
)
@pytest.mark.parametrize("roles", [["auditor"], OPERATOR])
def test_an_operation_that_costs_too_much_is_refused(query: str, roles: list[str]) -> None:
    """One query with 200 aliases took Dagster's webserver 7 s."""
    with pytest.raises(RefusedOperationError) as caught:
        send(query, roles)
    assert caught.value.status == 413


@pytest.mark.parametrize(
    "query", ["{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }", "{ x { ...a } }"]
)
def test_a_fragment_that_contains_itself_or_is_missing_is_refused(query: str) -> None:
    """Its fields can't be counted."""
    with pytest.raises(RefusedOperationError) as caught:
        send(query)
    assert caught.value.status == 400


def test_a_field_that_many_fragments_ask_for_is_permitted() -> None:
    """The UI's fragments all ask for `id` and `__typename`; Dagster answers each once."""
    parts = [f"fragment f{number} on Run {{ id ... {{ id }} }}" for number in range(4 * MAX_REPEATS)]
    assert send(f"{{ run {{ {' '.join(f'...f{number}' for number in range(len(parts)))} }} }} {' '.join(parts)}")


def test_no_operation_of_the_installed_ui_costs_too_much() -> None:
    """The largest one has about 640 fields, and none asks for a field under more than two aliases in one place."""
    operations = read_ui_operations()
    assert len(operations) > 150
    assert [name for name, document in operations.items() if _costs_too_much(document)] == []


def _costs_too_much(document: str) -> bool:
    try:
        check_body({"query": document}, user(ROLES), {OperationType(document.split(" ", 1)[0])})
    except RefusedOperationError as error:
        return error.status == 413
    return False


def test_an_operation_larger_than_the_uis_is_permitted() -> None:
    """Up to the limits."""
    assert send(f"{{ {' '.join(f'g{number} {{ {WIDE} }}' for number in range(4))} {aliases(MAX_REPEATS)} }}")


@pytest.mark.parametrize("role", [*VIEWERS, "operator"])
@pytest.mark.parametrize(
    "query",
    [
        "{ sensorOrError { ... on Sensor { nextTick { evaluationResult { skipReason } } } } }",
        "{ scheduleOrError { ...s } } fragment s on Schedule { futureTicks { results { evaluationResult { skipReason } } } }",
    ],
)
def test_no_query_runs_a_sensor(query: str, role: str) -> None:
    """Dagster needs no permission for it, and the sensor for notifications would send them."""
    with pytest.raises(RefusedOperationError):
        send(query, [role])


def test_inherited_tags_are_dropped_when_steps_are_executed_again() -> None:
    """The UI sends all tags of the parent run, also those of its sensor and of retries."""
    tags = [{"key": "trigger", "value": "automation"}, {"key": "dagster/partition", "value": "b"}]
    body = launch(executionMetadata={"parentRunId": "r", "rootRunId": "r", "tags": tags}).body
    assert body["variables"]["p"]["executionMetadata"]["tags"] == tags[1:]


def test_only_what_was_checked_is_sent_on() -> None:
    """Dagster would read the last of two keys, or another one."""
    content = (
        b'{"query": "{ version }", "query": "{ assetNodes { id } }", "extensions": {"a": 1}, "operation_name": "x"}'
    )
    assert check_operation(content, user()).body == {
        "query": "{ assetNodes { id } }", "variables": {}, "operationName": None
    }  # fmt: skip


def test_the_audit_line_names_runs_and_assets_and_no_other_text() -> None:
    """Free text of a request never reaches the log."""
    query = 'mutation { terminateRuns(runIds: ["a-1", "<script>"], terminatePolicy: SAFE_TERMINATE) { __typename } }'
    (mutation,) = send(query).mutations
    assert mutation.subject == "runIds a-1, ?script?; terminatePolicy SAFE_TERMINATE"


@pytest.mark.parametrize(
    ("params", "subject"),
    [
        ({"selector": {"jobName": "retrain"}, "stepKeys": ["adapters"]}, "jobName retrain; stepKeys adapters"),
        (
            {
                "selector": {"jobName": "ingest_batch"},
                "executionMetadata": {"tags": [{"key": "dagster/partition", "value": "batch-7"}]},
            },
            "jobName ingest_batch; dagster/partition batch-7",
        ),
    ],
)
def test_the_audit_line_names_job_batch_and_steps(params: dict[str, Any], subject: str) -> None:
    """An auditor must see what was launched."""
    (mutation,) = send(LAUNCH, variables={"p": params}).mutations
    assert mutation.subject == subject


def test_padding_cannot_hide_a_name_in_the_audit_log() -> None:
    """A long list continues in further entries; a long name is refused."""
    query = "mutation T($r: [String!]!) { terminateRuns(runIds: $r) { __typename } }"
    (mutation,) = send(query, variables={"r": [f"run-{n}" for n in range(200)]}).mutations
    assert mutation.subject.endswith("run-199")
    for ids in (["x" * 290, "run-1"], [f"{n:0190}" for n in range(200)]):
        with pytest.raises(RefusedOperationError) as caught:
            send(query, variables={"r": ids})
        assert caught.value.status == 413


def test_an_action_without_roles_is_open_to_nobody() -> None:
    assert PERMISSIONS[Action.CHANGE_DAGSTER_RECORDS].roles == frozenset()


def selected(location: str, *path: str) -> dict[str, Any]:
    return {"repositoryName": "r", "repositoryLocationName": location, "assetSelection": [{"path": list(path)}]}


def backfill(line: str, **params: Any) -> Operation:
    query = "mutation B($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) { __typename } }"
    return send(query, line=line, variables={"p": {"partitionNames": ["2026-05"]} | params})


def test_users_of_a_further_line_launch_runs_of_their_line() -> None:
    assert launch(line="law", selector=selected("law", "law", "adapters")).mutations[0].subject == "assets law/adapters"
    assert backfill("law", assetSelection=[{"path": ["law", "reports"]}]).mutations
    for name in ("startSensor", "resetSensor"):
        given = '{repositoryName: "r", repositoryLocationName: "law", sensorName: "s"}'
        assert send(f"mutation {{ {name}(sensorSelector: {given}) {{ __typename }} }}", line="law").mutations


@pytest.mark.parametrize("line", ["", "law"])
@pytest.mark.parametrize("location", [DEFINITIONS, "law", "finance", "", None, 1])
def test_a_launch_in_the_code_location_of_another_line_is_refused(line: str, location: Any) -> None:
    """Each line has its own roles: an operator of one line has no rights at another one."""
    own, key = (line, (line, "adapters")) if line else (DEFINITIONS, ("adapters",))
    if location == own:
        assert launch(line=line, selector=selected(location, *key)).mutations
        return
    with pytest.raises(RefusedOperationError) as caught:
        launch(line=line, selector=selected(location, *key))
    assert caught.value.status == 403


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("", ["law", "adapters"]),
        ("", "law"),
        ("law", ["adapters"]),
        ("law", ["finance", "adapters"]),
        ("law", ["law/adapters"]),
        ("law", "adapters"),
        ("law", []),
    ],
)
def test_a_launch_of_the_assets_of_another_line_is_refused(line: str, path: Any) -> None:
    """A backfill of assets names no code location; a run could name its own location and foreign assets."""
    own = {"selector": {**selected(line or DEFINITIONS), "assetSelection": [{"path": path}]}}
    for attempt in (
        lambda: launch(line=line, **own),
        lambda: backfill(line, assetSelection=[{"path": path}]),
        lambda: backfill(line, assetSelection={"path": path}),
        lambda: backfill(line, partitionsByAssets=[{"assetKey": {"path": path}}]),
    ):
        with pytest.raises(RefusedOperationError) as caught:
            attempt()
        assert caught.value.status == 403


def test_one_foreign_launch_among_several_is_refused() -> None:
    """All runs of one mutation, and all mutations of one document, are checked."""
    query = "mutation M($p: [ExecutionParams!]!) { launchMultipleRuns(executionParamsList: $p) { __typename } }"
    runs = [{"selector": selected("law", "law", "adapters")}, {"selector": selected("finance", "law", "adapters")}]
    with pytest.raises(RefusedOperationError):
        send(query, line="law", variables={"p": runs})
    assert send(query, line="law", variables={"p": runs[:1]}).mutations
    reload = 'mutation {{ a: reloadRepositoryLocation(repositoryLocationName: "law") {{ __typename }} b: {} {{ __typename }} }}'
    with pytest.raises(RefusedOperationError):
        send(reload.format("reloadWorkspace"), line="law")
    with pytest.raises(RefusedOperationError):
        send(reload.format('reloadRepositoryLocation(repositoryLocationName: "finance")'), line="law")


@pytest.mark.parametrize(
    "mutation",
    [
        'terminateRun(runId: "r")',
        'terminateRuns(runIds: ["r"])',
        'cancelPartitionBackfill(backfillId: "b")',
        'resumePartitionBackfill(backfillId: "b")',
        'launchRunReexecution(reexecutionParams: {parentRunId: "r", strategy: ALL_STEPS})',
        'stopSensor(id: "s")',
        'stopRunningSchedule(id: "s")',
        "setAutoMaterializePaused(paused: true)",
        'setConcurrencyLimit(concurrencyKey: "gpu", limit: 2)',
        'freeConcurrencySlots(runId: "r")',
        "reloadWorkspace",
        "launchPartitionBackfill(backfillParams: {allPartitions: true})",
    ],
)
def test_only_the_main_line_sends_what_names_no_code_location(mutation: str) -> None:
    """A run or pool may belong to any line. Operators of the main line run the services that all lines share."""
    query = f"mutation {{ {mutation} {{ __typename }} }}"
    with pytest.raises(RefusedOperationError) as caught:
        send(query, line="law")
    assert caught.value.status == 403
    assert send(query).mutations


def test_a_code_location_where_dagster_expects_none_does_not_help() -> None:
    """Otherwise any mutation would pass with a further argument."""
    with pytest.raises(RefusedOperationError):
        send('mutation { terminateRun(runId: "r", more: {repositoryLocationName: "law"}) { __typename } }', line="law")


def test_every_mutation_that_a_further_line_may_send_names_a_code_location_in_dagsters_schema() -> None:
    """Except backfills, which may name assets instead."""
    schema = create_schema().graphql_schema
    assert schema.mutation_type is not None
    for name in LOCATED_MUTATIONS - {"launchPartitionBackfill"}:
        arguments = schema.mutation_type.fields[name].args.values()
        required = [argument.type.of_type for argument in arguments if isinstance(argument.type, GraphQLNonNull)]
        assert any(_names_location(kind) for kind in required) or name == "reloadRepositoryLocation", name


def _names_location(kind: Any) -> bool:
    while isinstance(kind, GraphQLNonNull | GraphQLList):
        kind = kind.of_type
    fields = getattr(kind, "fields", {})
    return isinstance(getattr(fields.get("repositoryLocationName"), "type", None), GraphQLNonNull) or any(
        _names_location(field.type) for field in fields.values() if isinstance(field.type, GraphQLNonNull)
    )


@pytest.mark.parametrize("query", ["{ capturedLogs(logKey: []) { stdout } }", "{ instance { info } }"])
def test_output_of_processes_is_not_for_operators_of_further_lines(query: str) -> None:
    """It belongs to no code location, and a library may have printed text of another line's reports."""
    with pytest.raises(RefusedOperationError):
        send(query, line="law")
    assert send(query)
