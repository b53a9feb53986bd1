"""What goes on arriving after a refusal is read and thrown away, so that its sender gets to read the answer.

A sender that is still sending when the connection is closed gets an error of its system instead ("connection reset"),
and never learns that its picture was too large.
"""

import asyncio
import contextlib

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Lingering:
    """Around the application: reads the rest of a body before the answer begins."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, seconds: float) -> None:
        """Wraps the application.

        Args:
          app: what answers.
          max_bytes: thrown away at most; whoever sends more is answered before the end.
          seconds: within which they have to come.
        """
        self._app, self._max_bytes, self._seconds = app, max_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Who waits for permission to send, as curl does with much, is better answered without it.
        is_read = Headers(scope=scope).get("expect", "").lower() == "100-continue"

        async def receive_and_note() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = not message.get("more_body", False)
            return message

        async def send_after_the_rest(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_read:
                left = self._max_bytes
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._seconds):
                        while not is_read and left > 0:
                            left -= len((await receive_and_note()).get("body", b""))
            await send(message)

        await self._app(scope, receive_and_note, send_after_the_rest)
