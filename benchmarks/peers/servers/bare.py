"""The bare server: Starlette on uvicorn, a process for each core; the work is done in threads, as Starlette advises."""

from __future__ import annotations

import uvicorn
from preprocess import PORT, WORKERS, classify
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def handle(request: Request) -> JSONResponse:
    return JSONResponse(await run_in_threadpool(classify, await request.body()))


app = Starlette(routes=[Route("/classify", handle, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run("bare:app", host="127.0.0.1", port=PORT, workers=WORKERS, log_level="warning", access_log=False)
