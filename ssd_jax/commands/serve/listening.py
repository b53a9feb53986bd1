"""The socket, and the server that listens on it until it is interrupted."""

import contextlib
import errno
import ipaddress
import os
import socket
import sys
from collections.abc import Iterator
from typing import NamedTuple

import uvicorn
from starlette.applications import Starlette

from ssd_jax.errors import InputError

BACKLOG = 64  # connections that wait to be accepted
CONNECTIONS = 128  # that are open; one more is answered by status 503
GRACE = 1  # seconds for what is being answered when the server is told to stop


class Place(NamedTuple):
    """Where the server listens."""

    socket: socket.socket
    address: str  # of the page
    names: frozenset[str]  # by which it may be called, besides localhost
    loopback: bool  # reached from this computer only


@contextlib.contextmanager
def bind(host: str, port: int) -> Iterator[Place]:
    """Takes a port, before the model is loaded; nobody is answered yet.

    Args:
      host: address or name of this computer; another than a loopback address is warned of.
      port: 0: any.

    Raises:
      InputError: the port is taken or not allowed, or the host is not of this computer.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise InputError(f"--host: {host!r} is no address or name that is known ({error.strerror})") from error
    with socket.socket(family, kind, protocol) as bound:
        if os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else a port stays taken for a minute
        try:
            bound.bind(place)
            bound.listen(BACKLOG)  # two may bind, one may listen
        except OSError as error:
            raise InputError(_why(error, host, port)) from error
        address, actual = bound.getsockname()[:2]
        loopback = ipaddress.ip_address(address).is_loopback
        shown = address if loopback else host
        shown = f"[{shown}]" if ":" in shown else shown
        if not loopback:
            print(
                f"warning: --host={host}: everyone who can reach this computer over its network can use the page, "
                "without a password and unencrypted",
                file=sys.stderr,
                flush=True,
            )
        names = frozenset() if loopback else frozenset({host.lower(), socket.gethostname().lower()})
        yield Place(bound, f"http://{shown}:{actual}/", names, loopback)


def serve(app: Starlette, place: Place) -> None:
    """Answers until Ctrl-C, which is raised as KeyboardInterrupt, or SIGTERM, which ends the process as usual."""
    print(f"page: {place.address} (Ctrl-C ends it)", flush=True)
    try:
        make_server(app).run(sockets=[place.socket])
    finally:
        app.state.workshop.close()


def make_server(app: Starlette) -> uvicorn.Server:
    """Returns the server of an application; it listens to sockets that are given to it."""
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # mistakes are logged by the application itself
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE,
    )
    return uvicorn.Server(config)


def _why(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"--port: {port} is taken by another program; --port=0 takes any that is free"
    if error.errno == errno.EACCES:
        return f"--port: {port} is not allowed ({error.strerror}); those from 1024 are"
    return f"--host: {host!r} cannot be listened on ({error.strerror})"
