"""A local page to try a detector on, and a JSON endpoint beside it: ``python -m ssd_jax.commands.serve``.

Why Starlette on uvicorn (the extra "serve"), looked up on PyPI in November 2026. Wanted were a library that is being
maintained, that installs as plain Python on 3.11 to 3.13, and that hands over the body of a request piece by piece, so
that an upload is refused at its first byte too many and never becomes a file:

- Starlette and uvicorn: six pure Python wheels in all (with h11, click, anyio, idna), about 20 releases each in the
  last year. The body comes as a stream; thousands of idle connections cost no thread. Chosen.
- aiohttp: as well kept, but ten packages, five of them with compiled parts, for a client that is not needed.
- Litestar: nineteen dependencies. Falcon: compiled, and needs a server besides.
- Bottle: one file, no release in the last year, and its own server is that of the standard library.
- waitress: no dependency, but writes bodies to temporary files unless told otherwise, answers what is too large by
  itself and not as JSON; last release in 2024.
- ``http.server`` of the standard library: a thread a connection without any bound, no limits on time, and its
  documentation advises against it for anything but tests.
"""
