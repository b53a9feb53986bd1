"""The routes: the page, its examples, and the JSON endpoint."""

import functools
import logging
import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from ssd_jax.commands.serve import page, refusals, uploads, work
from ssd_jax.commands.serve.examples import Example
from ssd_jax.commands.serve.guard import Guard
from ssd_jax.commands.serve.lingering import Lingering
from ssd_jax.commands.serve.refusals import Refusal
from ssd_jax.visualize import palette

_LOG = logging.getLogger(__name__)


class Limits(NamedTuple):
    """Of what a request may ask for."""

    max_bytes: int = 20_000_000  # of an encoded picture
    max_pixels: int = 64_000_000  # of a decoded one
    places: int = 8  # requests at a time; one more is refused
    seconds: float = 60.0  # within which a picture has to arrive


def make_app(
    detector: work.Detector,
    *,
    limits: Limits,
    input_size: tuple[int, int],
    score_threshold: float,
    device: str,
    examples: Sequence[Example] = (),
    names: frozenset[str] = frozenset(),
    loopback: bool = True,
) -> Starlette:
    """Makes the application.

    Args:
      detector: warmed up.
      limits: of requests.
      input_size: (height, width) that the network sees.
      score_threshold: where the slider stands at first, and what is asked for if a request does not say.
      device: what the network runs on, in words.
      examples: pictures offered on the page.
      names: see :class:`Guard`.
      loopback: see :class:`Guard`.
    """
    model = describe_model(detector, input_size=input_size, score_threshold=score_threshold, limits=limits)
    document = page.document(model, device=device, examples=examples)
    workshop = work.Workshop(limits.places)

    async def show(request: Request) -> Response:
        return HTMLResponse(document.text, headers={"Content-Security-Policy": document.policy})

    async def show_example(request: Request) -> Response:
        number = request.path_params["number"]
        if number >= len(examples):
            raise HTTPException(404)
        return Response(examples[number].content, media_type=examples[number].media_type)

    async def tell_model(request: Request) -> Response:
        return JSONResponse(model)

    async def tell_health(request: Request) -> Response:
        return JSONResponse({"status": "ready"})

    async def detect(request: Request) -> Response:
        threshold = _threshold(request, score_threshold)
        with workshop.place():
            content = await uploads.read_picture(request, max_bytes=limits.max_bytes, seconds=limits.seconds)
            options: dict[str, Any] = dict(score_threshold=threshold, max_pixels=limits.max_pixels)
            options["arrived"] = time.perf_counter()
            return JSONResponse(await workshop.run(functools.partial(work.describe, detector, content, **options)))

    app = Starlette(
        routes=[
            Route("/", show),
            Route("/healthz", tell_health),
            Route("/examples/{number:int}", show_example),
            Route("/api/model", tell_model),
            Route("/api/detect", detect, methods=["POST"]),
        ],
        middleware=[
            Middleware(Lingering, max_bytes=10 * limits.max_bytes, seconds=limits.seconds),
            Middleware(Guard, names=names, loopback=loopback),
        ],
        exception_handlers={
            Refusal: _refused,
            HTTPException: _not_there,
            ClientDisconnect: _gone,
            Exception: _failed,
        },
    )
    app.state.workshop = workshop
    return app


def describe_model(
    detector: work.Detector, *, input_size: tuple[int, int], score_threshold: float, limits: Limits
) -> dict[str, Any]:
    """Returns what /api/model tells, and the page's script knows."""
    classes = [
        {"label": label, "name": name, "color": _css(palette.class_color(label)), "text": _css(_text_color(label))}
        for label, name in enumerate(detector.class_names)
        if label > 0
    ]
    return {
        "name": detector.name,
        "classes": classes,
        "input": {"width": input_size[1], "height": input_size[0]},
        "score_threshold": {"lowest": round(detector.score_threshold, 6), "default": score_threshold},
        "limits": {"bytes": limits.max_bytes, "pixels": limits.max_pixels},
    }


def _text_color(label: int) -> palette.Color:
    return palette.text_color(palette.class_color(label))


def _css(color: palette.Color) -> str:
    return "#" + "".join(f"{value:02x}" for value in color)


def _threshold(request: Request, default: float) -> float:
    unknown = sorted(set(request.query_params) - {"score_threshold"})
    if unknown:
        raise Refusal(refusals.BAD_REQUEST, f"The only parameter is score_threshold; {unknown[0][:40]!r} is not known.")
    given = request.query_params.get("score_threshold", str(default))
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise Refusal(
            refusals.BAD_REQUEST, f"score_threshold has to be a number between 0 and 1; {given[:40]!r} is not."
        )
    return value


async def _refused(request: Request, error: Exception) -> Response:
    refusal: Any = error
    return refusals.answer(refusal.status, refusal.sentence, refusal.headers)


async def _not_there(request: Request, error: Exception) -> Response:
    known: Any = error
    if known.status_code == 405:
        allowed = known.headers["Allow"]
        return refusals.answer(405, f"{request.url.path[:100]} accepts {allowed} only.", known.headers)
    return refusals.answer(known.status_code, f"There is nothing at {request.url.path[:100]!r} on this server.")


async def _gone(request: Request, error: Exception) -> Response:
    return refusals.answer(refusals.BAD_REQUEST, "The picture did not arrive as a whole.")  # which nobody reads


async def _failed(request: Request, error: Exception) -> Response:
    _LOG.error("a request failed, which is a mistake of this program:", exc_info=error)
    kind = type(error).__name__
    return refusals.answer(500, f"The server failed on this picture ({kind}); its terminal says where.")
