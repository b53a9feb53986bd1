"""Requests that are not served: one sentence, and the status of HTTP that says the same to a program."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

BAD_REQUEST = 400
FORBIDDEN = 403
TIMEOUT = 408
TOO_LARGE = 413
WRONG_TYPE = 415
MISDIRECTED = 421
UNREADABLE = 422
BUSY = 503


class Refusal(Exception):
    """A request is refused; the message is one sentence for who has sent it."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        """States why.

        Args:
          status: of HTTP.
          sentence: for the sender.
          headers: sent along.
        """
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, dict(headers or {})


def answer(status: int, sentence: str, headers: Mapping[str, Any] | None = None) -> JSONResponse:
    """Returns {"error": sentence}."""
    return JSONResponse({"error": sentence}, status_code=status, headers=headers)
