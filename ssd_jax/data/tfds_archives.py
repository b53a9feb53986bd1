"""Where the archives are that TFDS prepares a dataset from, and what it leaves of them."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ssd_jax.errors import InputError

REACHABLE_SECONDS = 10.0


class Archive(NamedTuple):
    """One of the files that a dataset is prepared from."""

    name: str  # the official one
    size: int  # bytes
    sha256: str
    url: str
    kept_as: str  # the name that TFDS gives to its own download,
    fetched_as: str  # and until that is complete

    @property
    def names(self) -> tuple[str, str]:
        """Both names under which it may be extracted."""
        return self.name, self.kept_as


def find_archive(archive: Archive, dataset: str, root: Path, manual: Path) -> Path | None:
    """Returns where TFDS will find an archive: put there by hand, or downloaded by it before; None: nowhere.

    Args:
      archive: the archive.
      dataset: such as "voc/2007".
      root: TFDS's data_dir.
      manual: the folder of archives that were put there by hand.
    """
    if (manual / archive.name).exists():
        return manual / archive.name
    downloaded = _downloads(root, dataset) / archive.kept_as
    # TFDS writes the second file when the first is complete.
    return downloaded if downloaded.exists() and Path(f"{downloaded}.INFO").exists() else None


def is_extracted(archive: Archive, root: Path) -> bool:
    """Tells whether TFDS will use what it extracted from an archive before."""
    method = "ZIP" if archive.name.endswith(".zip") else "TAR"
    return any((_extracted(root) / f"{method}.{name}").exists() for name in archive.names)


def remove_leftovers(archives: Sequence[Archive], dataset: str, root: Path) -> None:
    """Deletes the temporary folders of preparations of this dataset that were killed; they can fill a disk."""
    leftovers = [*(root / dataset).glob("incomplete.*")]
    for archive in archives:
        leftovers += _downloads(root, dataset).glob(f"{archive.fetched_as}.tmp.*")
        for name in archive.names:
            leftovers += _extracted(root).glob(f"incomplete.*.{name}")
    for folder in leftovers:
        shutil.rmtree(folder, ignore_errors=True)


def check_reachable(archives: Sequence[Archive]) -> None:
    """Asks for each archive. TFDS itself would try an unreachable host for minutes, without a word.

    Raises:
      InputError: a server does not answer, or does not have the file.
    """
    import requests  # as TFDS does: it obeys the same settings of proxies and certificates

    for archive in archives:
        try:
            with requests.get(archive.url, stream=True, timeout=REACHABLE_SECONDS) as response:
                status = response.status_code
        except requests.RequestException as error:
            raise InputError(
                f"{archive.url} cannot be reached ({type(error).__name__}); without a network leave out --download "
                "and put the archives in place by hand"
            ) from error
        if status != 200:
            raise InputError(f"{archive.url}: expected an archive, but the server answers with status {status}")


def _extracted(root: Path) -> Path:
    return root / "downloads" / "extracted"


def _downloads(root: Path, dataset: str) -> Path:
    return root / "downloads" / dataset.split("/")[0]
