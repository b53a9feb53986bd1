"""What a run was made with: versions of the libraries and the commit of the checkout."""

import contextlib
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import ssd_jax

# All on which the numbers of a run depend; Python itself is recorded, but not among them.
LIBRARIES = ("ssd_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "pillow")
CHECKOUT = Path(ssd_jax.__file__).resolve().parents[1]


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the libraries that are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):  # ssd_jax run from its folder, not installed
            found[name] = metadata.version(name)
    return found


def version_changes(saved: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Returns "name old -> new" of each library whose version was another when a run was saved."""
    return [
        f"{name} {saved[name]} -> {now.get(name, 'none')}"
        for name in LIBRARIES
        if name in saved and saved[name] != now.get(name)
    ]


def git_commit(checkout: Path = CHECKOUT) -> str | None:
    """Returns the commit of a checkout, 12 digits, with "-dirty" if a tracked file differs from it.

    None outside of a checkout, without git, and if git fails or takes more than 5 s.
    """
    if not (checkout / ".git").exists():  # else git would find a repository that the library was installed into
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # it is only looked at
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return result.stdout.strip() or None
