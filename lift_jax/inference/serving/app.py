"""The routes of the service: a page for people at /, and for programs POST /predict and GET /health."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import fastapi
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from lift_jax.inference.predictions import Prediction, as_json
from lift_jax.inference.serving import schema
from lift_jax.inference.serving.batching import Batcher, FullError, NamedImage
from lift_jax.inference.serving.limits import Limits
from lift_jax.version import __version__

PAGE = Path(__file__).with_name("page.html")

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src blob: data:; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""The page asks nobody but this service, and nothing that it shows can run."""


class Refused(Exception):
    """Raised for a request that is not answered: a status and a sentence."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status


def make(
    batcher: Batcher, class_names: Sequence[str], limits: Limits, nearest: int = 0, absent: str | None = None
) -> fastapi.FastAPI:
    """Makes the application.

    Args:
        batcher: the way to the model.
        class_names: the names of the classes, in label order.
        limits: what is accepted.
        nearest: how many training images are shown beside an image.
        absent: why there are none, where they were asked for.
    """
    # The pages of FastAPI's documentation would fetch scripts from elsewhere; /openapi.json describes all.
    app = fastapi.FastAPI(title="lift_jax", version=__version__, docs_url=None, redoc_url=None)
    page = PAGE.read_text(encoding="utf-8")

    @app.exception_handler(Refused)
    async def refuse(_: Request, refused: Refused) -> JSONResponse:
        # What has not been read of the request is not worth reading.
        return JSONResponse({"error": str(refused)}, refused.status, headers={"Connection": "close"})

    @app.exception_handler(HTTPException)
    async def point_elsewhere(request: Request, error: HTTPException) -> JSONResponse:
        sentence = f"{error.detail}."
        if error.status_code in (404, 405):
            sentence = f"There is no {request.method} {request.url.path}; ask POST /predict, GET /health or GET /."
        return JSONResponse({"error": sentence}, error.status_code, headers=error.headers)

    @app.head("/", include_in_schema=False)
    @app.head("/health", include_in_schema=False)
    async def be_there() -> Response:
        return Response(headers=_HEADERS)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page, headers=_HEADERS)

    @app.get("/health")
    async def health() -> schema.Health:
        """Says that the service is there, and what it accepts."""
        return schema.Health(
            status="ok", version=__version__, classes=len(class_names), waiting=batcher.waiting,
            max_images=limits.images, max_request_bytes=limits.request_bytes, nearest=nearest, no_nearest=absent,
        )  # fmt: skip

    @app.post("/predict", openapi_extra=schema.REQUEST, response_model=schema.Results, responses=schema.PROBLEMS)
    async def predict(request: Request) -> JSONResponse:
        """Gives the classes of images: the files of a form (multipart/form-data), or one image as the body."""
        images = await _received(request, limits)
        predictions = await _answered(batcher, images, limits)
        results = [as_json(prediction, class_names) for prediction in predictions]
        return JSONResponse({"results": results}, 200 if any(p.problem is None for p in predictions) else 422)

    return app


async def _received(request: Request, limits: Limits) -> list[NamedImage]:
    """Receives the images of a request.

    Raises:
        Refused: if they are none, too many, too large or too slow.
    """
    body = _Body(request.receive, limits)
    try:
        async with asyncio.timeout(limits.read_seconds):
            try:
                if (told := request.headers.get("content-length", "0")).isdecimal():
                    _check_bytes(int(told), limits)
                images = await _read(Request(request.scope, body), limits)
            except Refused:
                await body.drain()
                raise
    except TimeoutError:
        raise Refused(408, f"The request did not come within {limits.read_seconds:g} seconds; send less.") from None
    except ClientDisconnect:
        raise Refused(400, "The request ended before all of it had come; send it again.") from None
    if not images:
        raise Refused(400, "There is no image; send files of a form, or the bytes of one image.")
    return images


async def _read(request: Request, limits: Limits) -> list[NamedImage]:
    if not request.headers.get("content-type", "").lower().startswith("multipart/"):
        content = await request.body()
        return [NamedImage("image", content)] if content else []
    try:
        form = await request.form(max_files=limits.images, max_fields=limits.images)
    except HTTPException as error:
        if "Too many" in error.detail:
            raise Refused(
                413, f"The request has more than the {limits.images} images that are accepted; send fewer at a time."
            ) from None
        raise Refused(400, f"The form of the request is broken ({error.detail.rstrip('.')}); send it anew.") from None
    try:
        files = [each for _, each in form.multi_items() if isinstance(each, UploadFile)]
        return [NamedImage(file.filename or f"image {i}", await file.read()) for i, file in enumerate(files)]
    finally:
        await form.close()


class _Body:
    """Counts the bytes of a body as they come, because what the header says may be wrong or missing.

    Args:
        receive: gives the messages of the request.
        limits: of its bytes.
    """

    def __init__(self, receive: Receive, limits: Limits):
        self._receive, self._limits = receive, limits
        self._come, self._has_ended = 0, False

    async def __call__(self) -> Message:
        message = await self._next()
        _check_bytes(self._come, self._limits)
        return message

    async def drain(self) -> None:
        """Reads on, as much again as is accepted: many clients read no answer before they have sent all."""
        while not self._has_ended and self._come <= 2 * self._limits.request_bytes:
            await self._next()

    async def _next(self) -> Message:
        message = await self._receive()
        self._come += len(message.get("body", b""))
        self._has_ended = not message.get("more_body", False)
        return message


def _check_bytes(size: int, limits: Limits) -> None:
    if size > limits.request_bytes:
        raise Refused(
            413, f"The request has more than the {limits.request_bytes:,} bytes that are accepted; send less at a time."
        )


async def _answered(batcher: Batcher, images: Sequence[NamedImage], limits: Limits) -> list[Prediction]:
    """Waits for the predictions of images.

    Raises:
        Refused: if too many others wait, or the model takes too long or fails.
    """
    try:
        futures = batcher.submit(images)
    except FullError:
        raise Refused(503, "Too many images are waiting; try again in a moment.") from None
    waiting = asyncio.gather(*map(asyncio.wrap_future, futures))
    try:
        async with asyncio.timeout(limits.answer_seconds):
            return await waiting
    except TimeoutError:
        raise Refused(503, f"There was no answer within {limits.answer_seconds:g} seconds; try again later.") from None
    except Exception:
        raise Refused(500, "The model has failed, and the log of the service says why.") from None
