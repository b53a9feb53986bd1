"""TensorFlow Datasets without TensorFlow: preparing VOC and COCO by TFDS's own builders, and opening what is prepared.

TFDS reads ArrayRecord files without TensorFlow, but its code for VOC, COCO, archives and shuffling
uses a few names of it. While a dataset is prepared and TensorFlow is not installed, small stand-ins
take the place of those names (:func:`stand_in_for_tensorflow`). That rests on TFDS's internals,
hence on its version: the requirements pin it, and here it is checked.
"""

import concurrent.futures
import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import queue
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from ssd_jax import files
from ssd_jax.data.tfds_archives import Archive, remove_leftovers
from ssd_jax.data.tfds_progress import make_bars
from ssd_jax.data.tfds_shards import RecordFiles
from ssd_jax.data.tfds_stand_in import make_stand_in
from ssd_jax.errors import InputError

NAMES = ("voc/2007", "voc/2012", "coco/2017")
TESTED = "4.9."  # versions of TFDS whose internals are known
FILE_FORMAT = "array_record"  # in which datasets are prepared here
READABLE = (FILE_FORMAT, "tfrecord")  # the second is TFDS's own default
# Modules of TFDS that hold TensorFlow as their attribute ``tf`` and use it while they prepare VOC and COCO.
USERS = ("object_detection.voc", "object_detection.coco", "core.download.extractor", "core.shuffle")
OPEN_FILES = 1_200  # of which TFDS's shuffling takes 1,000, for splits beyond 1 GB


class Prepared(NamedTuple):
    """A dataset on disk."""

    folder: Path
    file_format: str
    class_names: tuple[str, ...]  # without background, in the order of the labels
    counts: dict[str, int]  # split -> images
    builder: Any  # TFDS's

    def open(self, split: str) -> Sequence[dict[str, Any]]:
        """Returns the examples of a split, read when they are indexed; picklable, and safe to share among threads.

        The image of an example is its file as bytes.

        Raises:
          InputError: a file is damaged.
        """
        decoders = {"image": load_tfds().decode.SkipDecoding()}
        if self.file_format == FILE_FORMAT:
            return self.builder.as_data_source(split, decoders=decoders)
        info = self.builder.info
        records = RecordFiles(info.splits[split].filepaths, info.splits[split].shard_lengths)
        return _Deserialized(records, info.features, decoders)


class _Deserialized(Sequence):
    """The examples in serialized records."""

    def __init__(self, records: RecordFiles, features: Any, decoders: dict[str, Any]) -> None:
        self._records, self._features, self._decoders = records, features, decoders

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, row: int) -> dict[str, Any]:  # type: ignore[override]  # no slices
        return self._features.deserialize_example_np(self._records[row], decoders=self._decoders)


def load_tfds() -> Any:
    """Imports TFDS. Raises InputError if it is not installed."""
    try:
        return importlib.import_module("tensorflow_datasets")
    except ImportError as error:
        raise InputError(
            f"tensorflow_datasets cannot be imported ({error}): pip install -r requirements.txt"
        ) from error


def check_name(name: str) -> None:
    """Raises InputError unless the dataset is one of ``NAMES``."""
    if name not in NAMES:
        raise InputError(f"expected a dataset, one of {', '.join(NAMES)}; got {name!r}")


def find_prepared(root: Path, name: str) -> Prepared | None:
    """Finds the newest version of a prepared dataset below TFDS's data_dir; None if there is none.

    Raises:
      InputError: it is damaged, or in a file format that cannot be read in any order.
    """
    check_name(name)
    folders = [path.parent for path in (root / name).glob("*/dataset_info.json")]
    versions = {version: folder for folder in folders if (version := _version(folder.name))}
    if not versions:
        return None
    folder = versions[max(versions)]
    try:
        builder = load_tfds().builder_from_directory(folder)
        info = builder.info
        names = tuple(info.features["objects"]["label"].names)
        counts = {split: info.splits[split].num_examples for split in info.splits}
    except InputError:
        raise
    except Exception as error:  # whatever TFDS raises on a folder that someone else has changed
        raise InputError(
            f"{folder}: expected a dataset prepared by TFDS, but it cannot be read ({' '.join(str(error).split())}); "
            f"{_way_out(root, name)}"
        ) from error
    file_format = info.file_format.value
    if file_format not in READABLE:
        raise InputError(
            f"{folder} was prepared as {file_format}, but {' or '.join(READABLE)} is needed; {_way_out(root, name)}"
        )
    return Prepared(folder, file_format, names, counts, builder)


def _way_out(root: Path, name: str) -> str:
    return f"delete that folder and prepare it again by python -m ssd_jax.commands.prepare {name} --data_dir={root}"


def list_archives(name: str, root: Path) -> list[Archive]:
    """Returns the archives that TFDS prepares a dataset from, as its builder states them."""
    check_name(name)
    with stand_in_for_tensorflow():
        builder = load_tfds().builder(name, data_dir=root)
        recorder = _Recorder()
        with contextlib.suppress(_RecordedError):
            builder._split_generators(recorder)
    resource = importlib.import_module("tensorflow_datasets.core.download.resource")
    archives = []
    for url in dict.fromkeys(recorder.urls):  # COCO names the annotations of train and validation twice
        info = builder.url_infos[url]
        kept_as, fetched_as = resource.get_dl_fname(url, info.checksum), resource.get_dl_fname(url)
        archives.append(Archive(info.filename, int(info.size), info.checksum, url, kept_as, fetched_as))
    return archives


def prepare(name: str, root: Path, manual: Path, *, show_progress: bool) -> Prepared:
    """Prepares a dataset by TFDS's builder, from archives in ``manual`` or downloaded; returns it if it is prepared.

    TFDS checks size and SHA-256 of each archive, extracts them below ``root/downloads/extracted``
    (kept, and used again), and writes into a temporary folder that is renamed at the very end.

    Raises:
      InputError: an archive is not the official one, cannot be fetched or extracted, the disk is full, or
        another process is preparing the same dataset there.
    """
    archives = list_archives(name, root)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{root}: cannot be created ({error.strerror})") from error
    # Another process's temporary folders look like those of one that was killed: only the lock tells them apart.
    busy = f"{name} is being prepared in {root} by another process; wait until it is done, or stop it"
    with files.exclusive(root / f".{name.replace('/', '-')}.lock", busy):
        remove_leftovers(archives, name, root)
        try:
            with stand_in_for_tensorflow(), _watched_threads(show_progress):
                _run_builder(name, root, manual)
        except BaseException as error:
            remove_leftovers(archives, name, root)
            if message := _explain(error):
                raise InputError(f"{name} cannot be prepared: {message}") from error
            raise
    prepared = find_prepared(root, name)
    if prepared is None:
        raise InputError(f"{root / name}: TFDS has prepared the dataset, but it cannot be found there")
    return prepared


def _run_builder(name: str, root: Path, manual: Path) -> None:
    tfds = load_tfds()
    builder = tfds.builder(name, data_dir=root)
    if builder.data_path.exists() and find_prepared(root, name) is None:
        raise InputError(f"{builder.data_path} exists but holds no prepared dataset; delete it and try again")
    config = tfds.download.DownloadConfig(manual_dir=manual, try_download_gcs=False)
    # TFDS prints sizes that it does not know yet, and that it is done.
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare(download_config=config, file_format=FILE_FORMAT)


@contextlib.contextmanager
def stand_in_for_tensorflow() -> Iterator[None]:
    """Lets TFDS prepare VOC and COCO although TensorFlow is not installed; where it is, nothing is changed.

    Raises:
      InputError: there is no TensorFlow, and TFDS is not of a version whose internals are known; or the
        system allows too few open files.
    """
    if importlib.util.find_spec("tensorflow"):
        yield
        return
    load_tfds()
    version = importlib.metadata.version("tensorflow-datasets")
    if not version.startswith(TESTED):  # 4.10 may use more of TensorFlow
        raise InputError(
            f"tensorflow-datasets {TESTED}* prepares datasets without TensorFlow, but {version} is installed: "
            "pip install tensorflow-cpu, or the version in requirements.txt"
        )
    _allow_open_files()
    users: list[Any] = [importlib.import_module(f"tensorflow_datasets.{user}") for user in USERS]
    originals, stand_in = [user.tf for user in users], make_stand_in()
    try:
        for user in users:
            user.tf = stand_in
        yield
    finally:
        for user, original in zip(users, originals, strict=True):
            user.tf = original


def _allow_open_files() -> None:
    """Raises the limit on open files, as TFDS would if TensorFlow told it that the limit is met."""
    try:
        import resource
    except ImportError:  # not on Windows, whose limit is higher
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY not in (soft, hard) and hard < OPEN_FILES:
        raise InputError(
            f"preparing a dataset takes {OPEN_FILES} open files, but the system allows {hard} (ulimit -Hn)"
        )
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))


@contextlib.contextmanager
def _watched_threads(show_progress: bool) -> Iterator[None]:
    """Shows progress; on an error or an interruption, ends TFDS's threads instead of waiting for the last file."""
    tqdm_utils: Any = importlib.import_module("tensorflow_datasets.core.utils.tqdm_utils")
    original, stop = tqdm_utils.tqdm_lib, threading.Event()
    tqdm_utils.tqdm_lib = SimpleNamespace(tqdm=make_bars(show_progress, stop))
    try:
        yield
    except BaseException:
        stop.set()  # ends downloads
        _stop_extraction()
        raise
    finally:
        tqdm_utils.tqdm_lib = original


def _stop_extraction() -> None:
    extractor = importlib.import_module("tensorflow_datasets.core.download.extractor").get_extractor()
    executor = extractor._executor
    executor.shutdown(wait=False)
    # Not by cancel_futures: an archive's thread waits for its files by as_completed, which never hears of those that
    # are canceled that way (Python 3.11 to 3.13).
    with contextlib.suppress(queue.Empty):
        while True:
            item = executor._work_queue.get_nowait()
            if item is not None and item.future.cancel():
                item.future.set_running_or_notify_cancel()
    executor._work_queue.put(None)  # the wake-up of the threads, if it was taken out as well
    executor.shutdown(wait=True)
    extractor._executor = concurrent.futures.ThreadPoolExecutor()  # it is shared by all preparations of a process


def _explain(error: BaseException) -> str:
    """Returns what is wrong with archives, network or disk; "" if the error is something else, such as a bug."""
    text = " ".join(str(error).split())
    if type(error).__name__ == "NonMatchingChecksumError":
        path = re.search(r"downloaded to (.*?), has wrong checksum", text)
        sums = re.findall(r"checksum='(\w+)'", text)
        if path and len(sums) == 2:
            return f"{path[1]} is not the official archive: expected SHA-256 {sums[0]}, got {sums[1]}"
        return text
    kinds = ("ExtractError", "DownloadError", "RequestException")
    known = isinstance(error, OSError) or any(kind.__name__ in kinds for kind in type(error).__mro__)
    return text if known else ""


def _version(text: str) -> tuple[int, ...]:
    """Returns (5, 0, 0) for "5.0.0" and () for anything else."""
    return tuple(map(int, text.split("."))) if re.fullmatch(r"\d+\.\d+\.\d+", text) else ()


class _RecordedError(Exception):
    """Ends the recording."""


class _Recorder:
    """Stands for TFDS's download manager, to learn what a builder would ask it for."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    def download_and_extract(self, urls: dict[str, str]) -> None:
        self.urls = list(urls.values())
        raise _RecordedError
