"""Answers the routes of vLLM that `shared_vllm` uses, in a second instead of minutes: `python vllm_stand_in.py … --uds SOCKET`.

test_shared_vllm.py in `serving/` uses the real one. As vLLM, it refuses to load a name twice and to unload an unknown one.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

loaded: dict[str, str] = {}


async def models(_request: Request) -> Response:
    return JSONResponse({"data": [{"id": name} for name in ("base", *loaded)]})


async def load(request: Request) -> Response:
    body = await request.json()
    if body["lora_name"] in loaded or "broken" in body["lora_path"]:
        return JSONResponse({}, 400)
    loaded[body["lora_name"]] = body["lora_path"]
    return Response()


async def unload(request: Request) -> Response:
    name = (await request.json())["lora_name"]
    return Response() if loaded.pop(name, None) is not None else JSONResponse({}, 404)


async def chat(request: Request) -> Response:
    body = await request.json()
    if body["model"] not in loaded:
        return JSONResponse({}, 404)
    if body.get("crash"):
        os._exit(1)
    end = time.monotonic() + body.get("seconds", 0)
    while time.monotonic() < end and not await request.is_disconnected():
        await asyncio.sleep(0.1)

    async def stream() -> AsyncIterator[bytes]:
        for part in (loaded[body["model"]], "[DONE]"):
            yield f"data: {part}\n\n".encode()
            await asyncio.sleep(0.5)

    if body.get("stream"):
        return StreamingResponse(stream(), media_type="text/event-stream")
    choice = {"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}
    return JSONResponse({"path": loaded[body["model"]], "asked": body, "choices": [choice], "usage": usage})


routes = [
    Route("/v1/models", models),
    Route("/v1/load_lora_adapter", load, methods=["POST"]),
    Route("/v1/unload_lora_adapter", unload, methods=["POST"]),
    Route("/v1/chat/completions", chat, methods=["POST"]),
]
if __name__ == "__main__":
    print(json.dumps(sys.argv), flush=True)
    subprocess.Popen(["sleep", "600"])  # a worker process
    uvicorn.run(Starlette(routes=routes), uds=sys.argv[sys.argv.index("--uds") + 1], log_level="error")
