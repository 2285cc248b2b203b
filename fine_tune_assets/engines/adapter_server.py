"""Serves one LoRA adapter of a shared vLLM process as an engine of its own: `python -m … CONFIG`.

It attaches the adapter, passes on requests for it and nothing else, and detaches it at SIGTERM, after the last answer. It ends
when vLLM ends, so that the supervisor starts it again.
"""

import asyncio
import hmac
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from fine_tune_assets.engines.listen_addresses import base_url, socket_address, socket_path
from fine_tune_assets.engines.processes import identify
from fine_tune_assets.engines.running_server import (
    CONFIG_FILE,
    SHUTDOWN_SECONDS,
    EngineError,
    RunningEngine,
    engine_environment,
    launch_engine,
    new_api_key,
    write_private_file,
)
from fine_tune_assets.engines.shared_vllm import STOP_SECONDS, SharedEngine, attach, detach
from fine_tune_assets.engines.vllm import PROGRAM, require_loadable_adapter, require_vllm

_WATCH_SECONDS = 1.0
_STARTUP_SECONDS = 1800.0
"""For vLLM; the supervisor gives up earlier if its own limit is lower."""
_MODELS_SECONDS = 5.0
_PASSED_HEADERS = ("content-type",)
_ONE_REQUEST_EACH = httpx.Limits(max_connections=None, max_keepalive_connections=0)
"""vLLM may close an idle connection just when it is used again, which would look as if the request had stopped vLLM."""


def start_adapter_server(shared: SharedEngine, adapter: Path, alias: str, folder: Path, socket: Path) -> RunningEngine:
    """Start a server for `adapter` and return at once; it is not healthy yet. It outlives its parent.

    Raises EngineError if vLLM is missing or can't load the adapter.
    """
    require_vllm(shared.python, alias)
    require_loadable_adapter(adapter, shared.serving.max_lora_rank)
    api_key = new_api_key()
    options = {
        "alias": alias,
        "api_key": api_key,
        "adapter": str(adapter),
        "socket": str(socket),
        "shared": shared.to_json(),
    }
    write_private_file(folder / CONFIG_FILE, json.dumps(options))
    return launch_engine(
        [sys.executable, "-m", "fine_tune_assets.engines.adapter_server", str(folder / CONFIG_FILE)],
        engine_environment(os.environ),
        alias,
        socket_address(socket),
        api_key,
        folder,
        die_with_parent=False,
        program=PROGRAM,
        max_concurrency=0,
        shutdown_seconds=SHUTDOWN_SECONDS + STOP_SECONDS,
        shared_folder=str(shared.folder),
    )


def build_app(engine: RunningEngine, alias: str, api_key: str, on_death: Callable[[], None]) -> Starlette:
    """The routes that an engine needs: its one model, and chat completions with it. `on_death` is called when vLLM has ended."""
    path = socket_path(engine.url)
    client = httpx.AsyncClient(
        base_url=base_url(engine.url),
        headers={"Authorization": f"Bearer {engine.api_key}", "Accept-Encoding": "identity"},
        timeout=None,  # the gateway limits the time; when it hangs up, so does this client
        transport=httpx.AsyncHTTPTransport(uds=None if path is None else str(path), limits=_ONE_REQUEST_EACH),
        trust_env=False,
    )

    def is_authorized(request: Request) -> bool:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode(), api_key.encode())

    async def models(request: Request) -> Response:
        if not is_authorized(request):
            return JSONResponse({"error": "unauthorized"}, 401)
        try:
            reply = await client.get("models", timeout=_MODELS_SECONDS)
        except httpx.HTTPError as error:
            return JSONResponse({"error": type(error).__name__}, 503)
        found = [model for model in reply.json().get("data", []) if model["id"] == alias]
        return JSONResponse({"object": "list", "data": found}, 200 if found else 503)

    async def chat_completions(request: Request) -> Response:
        if not is_authorized(request):
            return JSONResponse({"error": "unauthorized"}, 401)
        content = await request.body()
        if _read_model(content) != alias:
            return JSONResponse({"error": "unknown model"}, 404)
        sent = client.build_request(
            "POST", "chat/completions", content=content, headers={"content-type": "application/json"}
        )
        try:
            reply = await _send_until_disconnect(client, sent, request)
        except httpx.ConnectError as error:
            return JSONResponse({"error": type(error).__name__}, 502)
        except httpx.HTTPError as error:
            return StreamingResponse(_break_off(error))
        if reply is None:
            return Response(status_code=499)  # the caller has hung up
        headers = {name: reply.headers[name] for name in _PASSED_HEADERS if name in reply.headers}
        return StreamingResponse(_pass_on(reply), reply.status_code, headers=headers)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        watch = asyncio.create_task(_call_on_death(engine, on_death))
        yield
        watch.cancel()
        await client.aclose()

    routes = [
        Route("/v1/models", models),
        Route("/v1/chat/completions", chat_completions, methods=["POST"]),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


async def _send_until_disconnect(
    client: httpx.AsyncClient, sent: httpx.Request, request: Request
) -> httpx.Response | None:
    """The start of vLLM's reply; None if the caller hangs up before, at which vLLM stops generating."""
    sending = asyncio.create_task(client.send(sent, stream=True))
    leaving = asyncio.ensure_future(request.receive())  # the body has been read: only the disconnect is left
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return sending.result() if sending.done() else None
    finally:
        leaving.cancel()
        sending.cancel()


async def _break_off(error: httpx.HTTPError) -> AsyncIterator[bytes]:
    """Ends the connection without an answer, as a dying engine does: the request may be the cause, so that the gateway must not
    send it to another engine."""
    raise error
    yield b""


async def _pass_on(reply: httpx.Response) -> AsyncIterator[bytes]:
    """Closes the connection to vLLM even if the caller hangs up, so that vLLM stops generating."""
    try:
        async for chunk in reply.aiter_raw():
            yield chunk
    finally:
        await asyncio.shield(reply.aclose())


def _read_model(content: bytes) -> Any:
    try:
        body = json.loads(content)
    except ValueError:
        return None
    return body.get("model") if isinstance(body, dict) else None


async def _call_on_death(engine: RunningEngine, on_death: Callable[[], None]) -> None:
    while engine.is_alive:
        await asyncio.sleep(_WATCH_SECONDS)
    on_death()


def serve(config: Path) -> int:
    """Serve until SIGTERM. Returns 1 if the adapter cannot be loaded or vLLM ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # while vLLM starts; uvicorn has its own handler afterwards
    options = json.loads(config.read_text(encoding="utf-8"))
    shared, identity = SharedEngine.from_json(options["shared"]), identify(os.getpid())
    assert identity is not None
    try:
        engine = attach(shared, options["alias"], Path(options["adapter"]), identity, _STARTUP_SECONDS)
        return _serve_attached(engine, options)
    except EngineError as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        detach(shared.folder, identity)


def _serve_attached(engine: RunningEngine, options: dict[str, Any]) -> int:
    import uvicorn

    def end() -> None:
        server.should_exit = server.force_exit = True

    app = build_app(engine, options["alias"], options["api_key"], end)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            uds=options["socket"],
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
    )
    server.run()
    return 0 if engine.is_alive else 1


if __name__ == "__main__":
    sys.exit(serve(Path(sys.argv[1])))
