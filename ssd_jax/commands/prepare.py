"""Prepares VOC or COCO by TensorFlow Datasets, once and without TensorFlow, for ``--config.data.kind=tfds``.

    python -m ssd_jax.commands.prepare NAME --data_dir=DIR [--manual_dir=DIR] [--download]

NAME is voc/2007, voc/2012 or coco/2017. Nothing is fetched unless --download is given: the archives
are expected in --manual_dir, and if some are missing they are listed with their addresses. What is
prepared already stays as it is; after an interruption the same command starts again, and archives
that were extracted are not extracted again.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from ssd_jax.commands import cli
from ssd_jax.data import tfds
from ssd_jax.data.tfds_archives import Archive, check_reachable, find_archive, is_extracted
from ssd_jax.errors import InputError

DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder that receives the prepared datasets.", required=True)
MANUAL_DIR = flags.DEFINE_string("manual_dir", None, "Folder of the archives; default: DATA_DIR/downloads/manual.")
DOWNLOAD = flags.DEFINE_bool("download", False, "Download the archives that are missing.")

# Bytes on disk for a byte of archive (estimated, not measured): images cannot be compressed further, so what is
# extracted is about as large as the archives, annotations more; the records are the images again. What is shuffled on
# disk shrinks as the records grow.
EXTRACTED, RECORDS = 1.2, 1.0
SPLITS = {  # name -> (to train on, to evaluate on)
    "voc/2007": ("voc/2007:trainval", "voc/2007:test"),
    "voc/2012": ("voc/2012:train", "voc/2012:validation"),
    "coco/2017": ("coco/2017:train", "coco/2017:validation"),
}


def main(argv: Sequence[str]) -> int:
    """Runs the command."""
    name, root = argv[1], Path(DATA_DIR.value).expanduser()
    manual = Path(MANUAL_DIR.value).expanduser() if MANUAL_DIR.value else root / "downloads" / "manual"
    tfds.check_name(name)
    if MANUAL_DIR.value and not manual.is_dir():
        raise InputError(f"--manual_dir: expected the folder of the archives, got {str(manual)!r}")
    prepared = tfds.find_prepared(root, name)
    if prepared is None:
        check_data_dir(root)
        prepared = prepare(name, root, manual, download=DOWNLOAD.value)
    else:
        print(f"{name} is already prepared in {prepared.folder}")
    print(summary(name, root, prepared))
    return 0


def prepare(name: str, root: Path, manual: Path, *, download: bool) -> tfds.Prepared:
    """Checks that archives, network and disk are there, then prepares.

    Raises:
      InputError: something is missing, or an archive is not the official one.
    """
    archives = tfds.list_archives(name, root)
    found = {archive: find_archive(archive, name, root, manual) for archive in archives}
    for archive, path in found.items():
        if path and (size := path.stat().st_size) != archive.size:
            raise InputError(f"{path} is not the official archive: expected {archive.size:,} bytes, got {size:,}")
    missing = [archive for archive, path in found.items() if path is None]
    if missing and not download:
        raise InputError(missing_message(name, archives, missing, manual))
    check_disk(name, root, archives, missing)
    check_reachable(missing)
    total = _gigabytes(sum(archive.size for archive in archives))
    print(f"preparing {name} from {len(archives)} archives ({total}): checksums, extraction, records", flush=True)
    return tfds.prepare(name, root, manual, show_progress=sys.stderr.isatty())


def check_data_dir(root: Path) -> None:
    """Raises InputError unless ``root`` is a folder to write to, or can become one; nothing is created yet."""
    existing = _nearest(root)
    if not existing.is_dir():
        raise InputError(f"--data_dir: expected a folder, got {root} ({existing} is a file)")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"--data_dir: expected a folder to write to, got {root} ({existing} is not writable)")


def _nearest(path: Path) -> Path:
    """Returns the path, or the first of its parents that exists."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if os.path.exists(folder))


def missing_message(name: str, archives: Sequence[Archive], missing: Sequence[Archive], manual: Path) -> str:
    """Says which archives to put where."""
    lines = [f"  {archive.name}  {archive.size:,} bytes  {archive.url}" for archive in missing]
    return (
        f"{len(missing)} of the {len(archives)} archives of {name} are missing; --download fetches them, or put them "
        f"into {manual}:\n" + "\n".join(lines)
    )


def check_disk(name: str, root: Path, archives: Sequence[Archive], missing: Sequence[Archive]) -> None:
    """Raises InputError if the disk that holds ``root`` is too small for what is still to be written."""
    extracted = sum(archive.size for archive in archives if not is_extracted(archive, root))
    needed = sum(archive.size for archive in missing) + EXTRACTED * extracted
    needed += RECORDS * sum(archive.size for archive in archives)
    free = shutil.disk_usage(_nearest(root)).free
    if free < needed:
        raise InputError(
            f"--data_dir: preparing {name} in {root} takes about {_gigabytes(needed)}, but {_gigabytes(free)} are free"
        )


def summary(name: str, root: Path, prepared: tfds.Prepared) -> str:
    """Returns the number of images a split and the options that use the dataset."""
    train, evaluation = SPLITS[name]
    counts = "\n".join(f"  {name}:{split}  {count:,} images" for split, count in prepared.counts.items())
    lines = (
        f"{counts}\nuse it by\n  --config.data.kind=tfds --config.data.root={root} "
        f"--config.data.train_split={train} --config.data.eval_split={evaluation}"
    )
    extracted = root / "downloads" / "extracted"
    return f"{lines}\nwhat was extracted to {extracted} is no longer needed" if extracted.is_dir() else lines


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.1f} GB"


if __name__ == "__main__":
    cli.run(main, positional=("NAME",))
