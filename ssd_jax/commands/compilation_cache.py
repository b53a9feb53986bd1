"""Compiled programs are kept in a folder, so that the second start of a command need not compile them again.

JAX finds them by what they compute, for which kind of processor or GPU, and by its own version; what it cannot use it
compiles. A program in the folder is run as it is: nobody else may write there.
"""

import contextlib
import os
import re
import stat
from pathlib import Path

from absl import flags

from ssd_jax.errors import InputError

OPTION = "compilation_cache"
LARGEST = 4 << 30  # bytes of the default folder; above, what was not used for the longest time is deleted
PROGRAM = re.compile(r".+-[0-9a-f]{64}-cache")  # how JAX calls its files
LEAST_SECONDS = 0.0  # of compiling, for a program to be kept; by JAX's default of 1 every start compiles the small ones


def define_flag() -> None:
    """Defines --compilation_cache; not at import, so that other programs may import this module."""
    flags.DEFINE_string(
        OPTION, None, "Folder in which compiled programs are kept; '' = none; default: in the user's cache."
    )


def start() -> None:
    """Lets JAX use the folder of --compilation_cache, and says which it is; to be called before JAX compiles.

    Raises:
      InputError: if the stated folder cannot be used, or others may write to it. That the default one cannot be used
        is only said.
    """
    import jax  # here, because it takes a second that a wrong option need not wait for

    stated = flags.FLAGS[OPTION].value
    if stated == "":
        jax.config.update("jax_enable_compilation_cache", False)
        return
    given = stated or getattr(jax.config, "jax_compilation_cache_dir", None)  # JAX_COMPILATION_CACHE_DIR
    folder = Path(given).expanduser() if given else default_folder()
    option = f"--{OPTION}" if stated else "JAX_COMPILATION_CACHE_DIR"
    try:
        _open(folder)
    except InputError as error:
        if given:
            raise InputError(f"{option}: {error}") from error
        jax.config.update("jax_enable_compilation_cache", False)
        print(f"compiled programs are not kept: {error}", flush=True)
        return
    if not given:
        delete_oldest(folder, LARGEST)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
    print(f"compiled programs: {folder} (--{OPTION}= keeps none)", flush=True)


def default_folder() -> Path:
    """Returns ssd_jax/compiled in the user's folder of caches (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base if os.path.isabs(base) else Path.home() / ".cache", "ssd_jax", "compiled")


def _open(folder: Path) -> None:
    """Creates a folder if it is absent, and refuses one that others may write to."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = folder.stat().st_mode
    except OSError as error:
        raise InputError(f"{folder}: expected a folder to write to, cannot use it ({error.strerror})") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: expected a folder to write to, it is read-only")
    if mode & stat.S_IWOTH and os.name == "posix":
        raise InputError(f"{folder}: expected a folder that only you write to, since what lies there is run; chmod o-w")


def delete_oldest(folder: Path, largest: int) -> None:
    """Deletes the programs that were not used for the longest time, until the others have ``largest`` bytes at most."""
    found = []
    for file in filter(lambda file: PROGRAM.fullmatch(file.name), folder.iterdir()):
        with contextlib.suppress(OSError):  # another process deletes, too
            about = file.lstat()
            if stat.S_ISREG(about.st_mode):
                found.append((max(about.st_atime, about.st_mtime), about.st_size, file))
    surplus = sum(size for _, size, _ in found) - largest
    for _, size, file in sorted(found):
        if surplus <= 0:
            break
        with contextlib.suppress(OSError):
            file.unlink()
            surplus -= size
