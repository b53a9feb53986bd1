"""The frame that all commands share: options, one-sentence errors, exit statuses.

Exit status 0: done; 2: something the user gave cannot be used, said in one line on stderr without
a traceback; 130: interrupted (Ctrl-C); 143: stopped by SIGTERM; 134: JAX gave up because another process of
the run has died. Any other failure is a bug and keeps its traceback.
"""

import contextlib
import functools
import importlib
import io
import logging
import os
import re
import shutil
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import absl.logging
from absl import app, flags

from ssd_jax.commands import options
from ssd_jax.errors import InputError

INPUT_ERROR = 2
HELP = r"--?(help(full|short|xml)?|\?)(=.*)?"  # absl's options that print and leave
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def run(
    main: Callable[[Sequence[str]], int | None],
    argv: Sequence[str] | None = None,
    *,
    prepare: Callable[[Sequence[str]], None] | None = None,
    positional: Sequence[str] = (),
    imports: Sequence[str] = (),
) -> NoReturn:
    """Parses the options, calls ``main(argv)`` and exits with its status.

    Args:
      main: takes the command line without the options: the program's name and the positional
        arguments; its result is the exit status.
      argv: command line with the program's name first; default ``sys.argv``.
      prepare: called with the command line before it is parsed, to define flags that depend on it.
      positional: what the required arguments that are no options are called.
      imports: modules that main needs and that take long. Until they are imported, Ctrl-C ends the program at
        once: an import that is broken off fails with errors of its own, or within C++.
    """
    argv = ["--help" if option == "-h" else option for option in (sys.argv if argv is None else argv)]
    set_up_logging()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show ends no program
    path = Path(argv[0])
    name = printable(path.parent.name if path.stem == "__main__" else path.name)
    with contextlib.ExitStack() as at_once:

        def begin(rest: Sequence[str]) -> int | None:
            for module in imports:
                importlib.import_module(module)
            at_once.close()
            return main(rest)

        at_once.enter_context(_interrupted_at_once(name))
        try:
            if prepare:
                prepare(argv)
            app.run(begin, argv=argv, flags_parser=functools.partial(_parse, positional=positional))
        except (InputError, flags.Error) as error:  # flags.Error: from prepare
            _leave(f"{name}: error: {options.sentence(error)}", INPUT_ERROR)
        except KeyboardInterrupt:
            print(file=sys.stderr)  # the terminal has written ^C
            _leave(f"{name}: interrupted", INTERRUPTED)
        except OSError as error:
            if not _stdout_is_lost():
                raise
            _leave(f"{name}: error: what it says cannot be written ({error.strerror})", INPUT_ERROR)
    raise SystemError("absl.app.run returned")  # it ends by sys.exit


def _stdout_is_lost() -> bool:
    """Whether nothing can be written to stdout, as to a pipe that nobody reads or a full disk; then nothing more is."""
    try:
        number = sys.stdout.fileno()
    except OSError:  # it is no file
        return False
    try:
        sys.stdout.flush()
        os.write(number, b"\n")  # a failed flush is forgotten
        return False
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)  # else Python complains at its end
        return True


@contextlib.contextmanager
def _interrupted_at_once(name: str) -> Iterator[None]:
    """Within it, Ctrl-C ends the process without tidying up.

    Nothing changes where somebody else has decided about Ctrl-C, such as a shell for what it starts in the
    background, or in another thread than the main one.
    """
    usual = signal.getsignal(signal.SIGINT)
    if usual is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: Any) -> NoReturn:
        os.write(2, f"\n{name}: interrupted\n".encode())
        os._exit(INTERRUPTED)

    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def _parse(argv: Sequence[str], *, positional: Sequence[str]) -> list[str]:
    try:
        return options.parse(argv, positional=positional)
    except SystemExit:
        if any(re.fullmatch(HELP, option) for option in argv[1:]):
            sys.exit(0)  # absl says 1, as if asking were a mistake
        raise


def set_up_logging() -> None:
    """Shows what the library has to say (skipped images, ...) as plain lines, and of others only errors."""
    # Odd EXIF data, very large images: what cannot be used is reported by name anyway, what can needs no remark.
    warnings.filterwarnings("ignore", module=r"PIL\..*")
    absl.logging.set_verbosity(absl.logging.ERROR)  # Orbax warns at each save without a metric, which is ordinary
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    library = logging.getLogger("ssd_jax")
    library.handlers[:], library.propagate = [handler], False
    library.setLevel(logging.INFO)


def printable(line: str) -> str:
    """Escapes what a terminal would obey or could not encode: names of files may hold anything, also line breaks."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)


def _leave(sentence: str, status: int) -> NoReturn:
    print(printable(sentence), file=sys.stderr, flush=True)
    sys.exit(status)


def warn_if_gpu_is_idle() -> None:
    """Warns on stderr when an NVIDIA GPU is present but JAX computes on the CPU."""
    import jax  # here, because it takes a second that a wrong option need not wait for

    try:
        backend = jax.default_backend()
    except (RuntimeError, AssertionError) as error:
        wanted = os.environ.get("JAX_PLATFORMS", "")
        raise InputError(
            f"JAX_PLATFORMS={wanted}: JAX finds no such device; unset it, or install the CUDA build of JAX"
        ) from error
    message = idle_gpu_message(
        backend=backend,
        wanted_platforms=getattr(jax.config, "jax_platforms", None),
        gpu_present=nvidia_gpu_present(os.environ),
    )
    if message:
        print(message, file=sys.stderr, flush=True)


def idle_gpu_message(*, backend: str, wanted_platforms: str | None, gpu_present: bool) -> str | None:
    """Returns the warning, or None if no GPU is idle or the user asked for the CPU.

    Args:
      backend: what JAX runs on, ``jax.default_backend()``.
      wanted_platforms: ``jax.config.jax_platforms``, which JAX_PLATFORMS sets.
      gpu_present: whether the machine has an NVIDIA GPU that this process may use.
    """
    if backend != "cpu" or not gpu_present or (wanted_platforms or "").startswith("cpu"):
        return None
    return (
        "warning: an NVIDIA GPU is present, but JAX runs on the CPU. Install the CUDA build in the project's folder:\n"
        f'  {sys.executable} -m pip install -e ".[cuda12]"\n'
        "(cuda13 with a driver of version 580 or later), or set JAX_PLATFORMS=cpu to silence this line."
    )


def nvidia_gpu_present(environ: Mapping[str, str]) -> bool:
    """Whether an NVIDIA driver is installed and CUDA_VISIBLE_DEVICES does not hide every GPU."""
    if environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi") is not None
