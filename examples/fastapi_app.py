"""Answers as they are written, over the web: uvicorn --app-dir examples fastapi_app:app"""

from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from mistral_client import MistralAsyncClient, MistralException, RateLimitError, RequestTimeout


@asynccontextmanager
async def lifespan(app):
    async with MistralAsyncClient() as client:  # one client, and its connections, for all requests
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


class Answer(StreamingResponse):
    """The text of a stream, which is closed when the response ends, however it ends."""

    def __init__(self, chunks):
        super().__init__(self.text(), media_type="text/plain")
        self.chunks = chunks

    async def text(self):
        async for chunk in self.chunks:
            yield chunk.choices[0].delta.content or ""

    async def __call__(self, scope, receive, send):
        async with self.chunks:  # asks: what fails as early as this has a status of its own
            await super().__call__(scope, receive, send)


@app.get("/ask")
async def ask(request: Request, question: str) -> Answer:
    messages = [{"role": "user", "content": question}]
    return Answer(request.app.state.client.chat_stream(model="mistral-small", messages=messages))


@app.exception_handler(MistralException)
async def failed(_: Request, error: MistralException) -> JSONResponse:
    status = 429 if isinstance(error, RateLimitError) else 504 if isinstance(error, RequestTimeout) else 502
    headers = {"Retry-After": str(round(error.retry_after))} if error.retry_after else None
    return JSONResponse({"detail": error.message}, status, headers)
