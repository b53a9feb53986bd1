"""Files written whole or not at all, and locks that end with their process."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

from ssd_jax.errors import InputError


def write_bytes(path: str | PathLike[str], data: bytes) -> None:
    """Writes a file; an earlier one of that name stays whole until the new one is complete.

    The data goes to a temporary file beside it, which then takes the name. A full disk or a killed
    process hence leaves no torn file (a killed one may leave the temporary ``.ssd_jax-*.tmp``).

    Raises:
      InputError: the file cannot be written; nothing temporary is left.
    """
    with staged(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def staged(path: str | PathLike[str]) -> Iterator[Path]:
    """Lends a name beside a file, for what is to be written, and perhaps read again, before it takes the file's name.

    The file is replaced at the end of the block; not if the block raises.

    Raises:
      InputError: the file cannot be written, or what the block said, about ``path`` instead of the lent name.
    """
    target = Path(os.path.realpath(path))  # a link keeps pointing to the file
    # Not by tempfile, whose files nobody else may read, whatever the umask says.
    temporary = target.parent / f".ssd_jax-{secrets.token_hex(8)}.tmp"
    try:
        try:
            yield temporary
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    except InputError as error:
        raise InputError(str(error).replace(str(temporary), str(path))) from error


def write_text(path: str | PathLike[str], text: str) -> None:
    """Writes a text file in UTF-8, as :func:`write_bytes` does."""
    write_bytes(path, text.encode())


@contextlib.contextmanager
def exclusive(path: Path, busy: str, *, holder: str = "") -> Iterator[None]:
    """Holds the lock that a file stands for; it is not waited for.

    The kernel gives the lock back when the process ends, however it ends, so the file may stay and
    means nothing by itself. Where there are no such locks (Windows, some network file systems),
    nothing is locked.

    Args:
      path: the file, created if it is absent.
      busy: what is said if another process holds the lock.
      holder: what is written into the file for those who are refused, whose ``busy`` it is appended to;
        "" neither writes nor reads.

    Raises:
      InputError: the lock is held, or the file cannot be opened.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    try:
        file = open(path, "a+b")  # for writing, which NFS wants of whoever locks alone
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror})") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise InputError(busy + (file.read(1000).decode(errors="replace") if holder else "")) from error
        except OSError:  # ENOLCK, ENOSYS, EOPNOTSUPP: a file system without locks
            yield
            return
        try:
            if holder:
                with contextlib.suppress(OSError):  # on a full disk it is a lock without a name
                    file.truncate(0)
                    file.write(holder.encode())
                    file.flush()
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # a child that was forked meanwhile would keep it beyond the close
