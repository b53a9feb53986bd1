"""The body of a request, read piece by piece into memory and never further than allowed."""

import asyncio

from starlette.requests import Request

from ssd_jax.commands.serve.refusals import BAD_REQUEST, TIMEOUT, TOO_LARGE, WRONG_TYPE, Refusal

HINT = "send the picture itself as the body, such as by curl --data-binary @picture.jpg"


async def read_picture(request: Request, *, max_bytes: int, seconds: float) -> bytes:
    """Returns the body of a request.

    Args:
      request: its body is not read yet.
      max_bytes: above which it is refused: at once if it states its length, else at the first byte too many.
      seconds: within which it has to arrive.

    Raises:
      Refusal: it is empty, too large, too slow, compressed, or a form.
    """
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise Refusal(WRONG_TYPE, f"Expected one picture, got a form (multipart); {HINT}.")
    if (encoding := request.headers.get("content-encoding", "identity")).lower() != "identity":
        raise Refusal(WRONG_TYPE, f"Expected the picture as it is, got Content-Encoding: {encoding[:40]}.")
    stated = request.headers.get("content-length", "")
    if stated.isascii() and stated.isdigit() and int(stated) > max_bytes:
        raise Refusal(TOO_LARGE, too_large(max_bytes))
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.stream():
                if len(body) + len(piece) > max_bytes:
                    raise Refusal(TOO_LARGE, too_large(max_bytes))
                body += piece
    except TimeoutError as error:
        raise Refusal(TIMEOUT, f"The picture did not arrive within {seconds:g} seconds.") from error
    if not body:
        raise Refusal(BAD_REQUEST, f"The request has no body; {HINT}.")
    return bytes(body)


def too_large(max_bytes: int) -> str:
    """Returns the sentence that refuses a picture with more bytes."""
    return f"The picture is larger than {max_bytes / 1e6:,.4g} megabytes, the most that is accepted."
