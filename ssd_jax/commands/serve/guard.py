"""Who may ask: only pages of this very server, by a name that is known to be this computer's.

A page of any site may send requests to 127.0.0.1 from the browser of who visits it, and a site may let its own name
point there (DNS rebinding). So the Host header has to be an address or a known name, and what a browser says of where
a request comes from (Origin, Sec-Fetch-Site) has to be this page. There is no CORS.
"""

import ipaddress
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ssd_jax.commands.serve.refusals import FORBIDDEN, MISDIRECTED, Refusal, answer

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """Around the application: refuses other names and other sites, adds the headers that browsers heed."""

    def __init__(self, app: ASGIApp, *, names: frozenset[str], loopback: bool) -> None:
        """Wraps the application.

        Args:
          app: what is guarded.
          names: of this computer, besides "localhost", in small letters.
          loopback: whether only addresses of this computer itself are accepted, not those of its network.
        """
        self._app, self._names, self._loopback = app, names | {"localhost"}, loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        try:
            self._check_host(headers.get("host", ""))
            _check_site(headers, scope)
        except Refusal as refusal:
            await answer(refusal.status, refusal.sentence)(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)

    def _check_host(self, host: str) -> None:
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            name = ""
        if name in self._names:
            return
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            address = None
        if address is None or (self._loopback and not address.is_loopback):
            raise Refusal(
                MISDIRECTED, f"This server does not answer to the name {name[:100]!r}; call it localhost or 127.0.0.1."
            )


def _check_site(headers: Mapping[str, str], scope: Mapping[str, Any]) -> None:
    origin = headers.get("origin")
    foreign = origin is not None and urlsplit_netloc(origin) != headers.get("host", "").lower()
    # A link on another site may lead here, which shows the page and does nothing.
    is_link = headers.get("sec-fetch-mode") == "navigate" and (scope["method"], scope["path"]) == ("GET", "/")
    foreign = foreign or (headers.get("sec-fetch-site") in ("cross-site", "same-site") and not is_link)
    if foreign:
        raise Refusal(FORBIDDEN, "This request comes from a page of another site, which this server does not serve.")


def urlsplit_netloc(origin: str) -> str | None:
    """Returns host and port of an origin, or None if it is none, such as "null"."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None
