"""Passes signed-in users' requests to Dagster's webserver: its page and files, GraphQL, and subscriptions over WebSocket.

Only these are passed; every other path answers with the UI's page, which finds its view from the address. Each mutation is
recorded in the audit log before it is sent.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from graphql import OperationType
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from fine_tune_assets.core.dagster_ui import (
    AUDIT_PREFIX,
    BASE_URL,
    PATH_PREFIX,
    permission_headers,
    split_subject,
    webserver_socket,
)
from fine_tune_assets.core.line_names import name_line
from fine_tune_assets.core.permissions import Action, may
from fine_tune_assets.core.settings import list_lines
from fine_tune_assets.desk.dagster_ui.graphql_policy import (
    MAX_BODY_BYTES,
    Operation,
    RefusedOperationError,
    Sender,
    check_body,
    check_operation,
    may_read_output,
)
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.people.sessions import Session, find_session

READ_TIMEOUT_SECONDS = 120.0
RECHECK_SECONDS = 15.0
"""Interval at which an open subscription checks whether its user may still see it."""
NOT_RUNNING = "The Dagster UI is not running. Start it with `fine-tune up dagster-webserver`."
NO_ANSWER = (
    "Dagster did not answer in time. The operation may have been carried out: look at the runs before you repeat it."
)
_FILE = re.compile(r"(_next|vendor)/[\w./-]+|[\w-]+\.(svg|png|ico|json|mp4)")
_OPERATOR_FILE = re.compile(r"(logs|download_debug)/[\w./-]+")
_FORWARDED = ("accept", "accept-encoding", "if-none-match", "if-modified-since", "range")
_RETURNED = (
    "content-type", "content-length", "content-encoding", "content-disposition", "content-range", "accept-ranges", "etag",
    "last-modified", "vary", "content-security-policy",
)  # fmt: skip
_IMMUTABLE = re.compile(r"_next/static/")
_NONCE = re.compile(r"'nonce-([0-9a-f]+)'")
_SESSION_SCRIPT = "/static/dagster_session.js"
_SUBPROTOCOL = "graphql-ws"
_CLIENT_MESSAGES = frozenset({"connection_init", "connection_terminate", "start", "stop"})
_POLICY_VIOLATION, _TRY_AGAIN_LATER = 1008, 1013


class DagsterProxy:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._socket: Path = webserver_socket(desk.settings.installation.layout.run)

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        """Made in the event loop that uses it."""
        transport = httpx.AsyncHTTPTransport(uds=str(self._socket))
        return httpx.AsyncClient(transport=transport, timeout=READ_TIMEOUT_SECONDS, trust_env=False)

    def routes(self) -> list[Route | WebSocketRoute]:
        graphql = f"{PATH_PREFIX}/graphql"
        return [
            Route(graphql, self._answer_graphql, methods=["POST"]),
            WebSocketRoute(graphql, self._relay_subscriptions),
            Route(f"{PATH_PREFIX}/session", self._answer_session, methods=["GET"]),
            Route(PATH_PREFIX, self._answer_page, methods=["GET"]),
            Route(f"{PATH_PREFIX}/{{path:path}}", self._answer_page, methods=["GET"]),
        ]

    async def close(self) -> None:
        if "_client" in self.__dict__:
            await self._client.aclose()

    async def _answer_page(self, request: Request) -> Response:
        session = await self._find_session(request, is_user_action="text/html" in request.headers.get("accept", ""))
        path = request.path_params.get("path", "")
        if session is None:
            target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/sign-in?next={quote(target)}", status_code=303)
        if not may(session.roles, Action.VIEW_DAGSTER):
            return _refuse("Your roles do not include the Dagster UI.", 403)
        if path == "graphql":
            return _refuse("Send GraphQL with POST.", 405)
        if _OPERATOR_FILE.fullmatch(path):
            if ".." in path or not may_read_output(self._describe_sender(session)):
                return _refuse("Only the role operator of the main line may read this.", 403)
        elif not _FILE.fullmatch(path) or ".." in path:
            path = ""
        return await self._forward("GET", path, request, session) if path else await self._send_page(request, session)

    async def _send_page(self, request: Request, session: Session) -> Response:
        """The UI's page with a script that notices the end of the session: the UI itself would show an unspecific error."""
        reply = await self._forward("GET", "", request, session, encoding="identity")
        if not isinstance(reply, StreamingResponse) or reply.status_code != 200:
            return reply
        content = b"".join([chunk async for chunk in reply.body_iterator if isinstance(chunk, bytes)])
        nonce = _NONCE.search(reply.headers.get("content-security-policy", ""))
        script = f'<script defer nonce="{nonce[1] if nonce else ""}" src="{_SESSION_SCRIPT}"></script></head>'
        kept = {name: value for name, value in reply.headers.items() if name != "content-length"}
        return Response(content.replace(b"</head>", script.encode(), 1), 200, kept, background=reply.background)

    async def _answer_session(self, request: Request) -> Response:
        """For the script of an open page: 401 when its session has ended. `active`: the user did something since."""
        session = await self._find_session(request, is_user_action="active" in request.query_params)
        is_allowed = session is not None and may(session.roles, Action.VIEW_DAGSTER)
        return Response(status_code=204 if is_allowed else 401)

    async def _answer_graphql(self, request: Request) -> Response:
        if not self._desk.addresses.is_same_origin(request.headers):
            return _refuse_operation("The request comes from another site.", 403)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return _refuse_operation("Send application/json.", 415)
        content = bytearray()
        try:
            async for chunk in request.stream():
                content += chunk
                if len(content) > MAX_BODY_BYTES:
                    return _refuse_operation("The request is too large.", 413)
        except ClientDisconnect:
            return _refuse_operation("The request did not arrive completely.", 408)
        session = await self._find_session(request, is_user_action=b"mutation" in content)
        if session is None:
            return _refuse_operation("Your session has ended. Reload the page to sign in.", 401)
        if not may(session.roles, Action.VIEW_DAGSTER):
            return _refuse_operation("Your roles do not include the Dagster UI.", 403)
        try:
            operation = await run_in_threadpool(self._check_operation, bytes(content), session)
        except RefusedOperationError as error:
            return _refuse_operation(str(error), error.status)
        if operation.mutations:
            await run_in_threadpool(self._record, operation, session)
        return await self._forward("POST", "graphql", request, session, json.dumps(operation.body).encode())

    def _check_operation(self, content: bytes, session: Session) -> Operation:
        return check_operation(content, self._describe_sender(session))

    def _describe_sender(self, session: Session) -> Sender:
        line = self._desk.settings.line
        return Sender(session.roles, line, frozenset(list_lines(self._desk.settings)) - {line})

    def _record(self, operation: Operation, session: Session) -> None:
        with self._desk.ledger.begin() as connection:
            for mutation in operation.mutations:
                for part in split_subject(mutation.subject):
                    audit.append(connection, session.name, AUDIT_PREFIX + mutation.name, part)

    async def _forward(
        self,
        method: str,
        path: str,
        request: Request,
        session: Session,
        content: bytes | None = None,
        encoding: str | None = None,
    ) -> Response:
        headers = {name: request.headers[name] for name in _FORWARDED if name in request.headers}
        headers |= {} if encoding is None else {"accept-encoding": encoding}
        headers |= permission_headers(session.roles, self._desk.settings.line)
        if content is not None:
            headers["content-type"] = "application/json"
        sent = self._client.build_request(method, f"{BASE_URL}/{quote(path)}", headers=headers, content=content)
        try:
            reply = await self._client.send(sent, stream=True)
        except httpx.ConnectError:
            stopped = name_line(NOT_RUNNING)
            return _refuse(stopped, 503) if content is None else _refuse_operation(stopped, 503)
        except httpx.HTTPError:
            return _refuse(NO_ANSWER, 504) if content is None else _refuse_operation(NO_ANSWER, 504)
        kept = {name: reply.headers[name] for name in _RETURNED if name in reply.headers}
        if _IMMUTABLE.match(path) and reply.status_code in (200, 206, 304):
            kept["cache-control"] = "private, max-age=86400, immutable"
        return StreamingResponse(_read_raw(reply), reply.status_code, kept, background=BackgroundTask(reply.aclose))

    async def _relay_subscriptions(self, websocket: WebSocket) -> None:
        session = await self._find_session(websocket, is_user_action=False)
        is_allowed = session is not None and may(session.roles, Action.VIEW_DAGSTER)
        if session is None or not is_allowed or not self._desk.addresses.is_same_origin(websocket.headers):
            await websocket.close(_POLICY_VIOLATION)
            return
        headers = permission_headers(session.roles, self._desk.settings.line)
        try:
            async with unix_connect(
                str(self._socket), f"ws://dagster{PATH_PREFIX}/graphql", subprotocols=[Subprotocol(_SUBPROTOCOL)],
                additional_headers=headers, max_size=None, proxy=None,
            ) as upstream:  # fmt: skip
                await websocket.accept(_SUBPROTOCOL)
                await self._relay(websocket, upstream, session)
        except (OSError, InvalidHandshake):
            with suppress(RuntimeError, WebSocketDisconnect):
                await websocket.close(_TRY_AGAIN_LATER)

    async def _relay(self, websocket: WebSocket, upstream: ClientConnection, session: Session) -> None:
        """Until one side ends, or the user may no longer see the UI."""
        tasks = [
            asyncio.create_task(_send_checked(websocket, upstream, self._describe_sender(session))),
            asyncio.create_task(_return_messages(upstream, websocket)),
            asyncio.create_task(self._wait_until_changed(websocket, session)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(RuntimeError, WebSocketDisconnect):  # the client has left
                await websocket.close(_POLICY_VIOLATION)

    async def _wait_until_changed(self, websocket: WebSocket, session: Session) -> None:
        """Returns when the session has ended or its user's roles have changed."""
        current: Session | None = session
        while current is not None and current.roles == session.roles:
            await asyncio.sleep(RECHECK_SECONDS)
            current = await self._find_session(websocket, is_user_action=False)

    async def _find_session(self, connection: HTTPConnection, is_user_action: bool) -> Session | None:
        token = connection.cookies.get(self._desk.addresses.cookie_name("session"), "")
        if not token:
            return None
        return await run_in_threadpool(
            find_session,
            self._desk.ledger,
            token,
            self._desk.session_limits,
            now=datetime.now(UTC),
            is_user_action=is_user_action,
        )


async def _send_checked(websocket: WebSocket, upstream: ClientConnection, sender: Sender) -> None:
    """Pass messages of the client; a start message only with a permitted subscription."""
    with suppress(WebSocketDisconnect, ConnectionClosed):
        while True:
            message = _read_message(await websocket.receive_text())
            if message is None:
                return
            if message["type"] == "start":
                try:
                    # In a thread: checking a large operation takes CPU time, and the event loop serves all pages.
                    operation = await run_in_threadpool(
                        check_body, message.get("payload"), sender, {OperationType.SUBSCRIPTION}
                    )
                except RefusedOperationError as error:
                    refusal = {"type": "error", "id": message.get("id"), "payload": {"message": str(error)}}
                    await websocket.send_json(refusal)
                    continue
                message = {"type": "start", "id": message.get("id"), "payload": operation.body}
            await upstream.send(json.dumps(message))


def _read_message(text: str) -> Mapping[str, Any] | None:
    """None if it is not a message of the protocol."""
    if len(text) > MAX_BODY_BYTES:
        return None
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_known = isinstance(message, dict) and message.get("type") in _CLIENT_MESSAGES
    return message if is_known else None


async def _return_messages(upstream: ClientConnection, websocket: WebSocket) -> None:
    with suppress(ConnectionClosed, WebSocketDisconnect):
        async for message in upstream:
            await websocket.send_text(message if isinstance(message, str) else message.decode())


async def _read_raw(reply: httpx.Response) -> AsyncIterator[bytes]:
    async for chunk in reply.aiter_raw():
        yield chunk


def _refuse(message: str, status: int) -> Response:
    return PlainTextResponse(message + "\n", status)


def _refuse_operation(message: str, status: int) -> Response:
    """As GraphQL errors, which the UI shows."""
    return JSONResponse({"data": None, "errors": [{"message": message}]}, status)
