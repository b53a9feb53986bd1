"""What the command is given: a detector of ours, or a file of anyone's."""

from pathlib import Path
from typing import NamedTuple

from ssd_jax import weights
from ssd_jax.errors import InputError
from ssd_jax.weights import foreign, mappings, metadata, readers, runs
from ssd_jax.weights.readers import TensorFile


class Source(NamedTuple):
    """One of the first two is there, or neither: arrays that are of no network known here."""

    trained: weights.TrainedNetwork | None  # of a run or a published file
    foreign: foreign.Foreign | None
    file: TensorFile | None  # what a file holds, whosever it is
    unknown: str = ""  # why it is of no known network
    place: str = ""  # the file or folder


def open_source(place: str, *, step: int | None, family: str, channels: str, tiling: str, need_family: bool) -> Source:
    """Reads what the command is given.

    Args:
      place: a folder, FOLDER@STEP or a file.
      step: of a run.
      family, channels, tiling: of ``mappings.convert``, for files of others.
      need_family: whether a file of no known network is refused.

    Raises:
      InputError: if it cannot be read, or an option does not belong to it.
    """
    foreign_options = {"family": family, "channels": channels, "tiling": tiling}
    if family and family not in mappings.NAMES:
        raise InputError(f"--family: expected one of {', '.join(mappings.NAMES)}, got {family!r}")
    path = Path(place).expanduser()
    if not path.exists() and not Path(runs.split_step(place)[0]).exists():
        raise InputError(
            f"{place}: expected a file of weights or the folder of a run, but there is nothing of that name"
        )
    file = readers.read(path) if path.is_file() else None
    if file is None or metadata.holds_detector(file.metadata):
        stray = [name for name, value in foreign_options.items() if value]
        if stray:
            raise InputError(f"--{stray[0]}: expected a file of others, got {place}, which says so itself")
        return Source(weights.read(place, step=step), None, file, place=runs.split_step(place)[0])
    if step is not None:
        raise InputError(f"--step: expected the folder of a run, got the file {place}")
    try:
        found = foreign.read_foreign(path, **foreign_options)
    except InputError as error:
        if need_family or family:
            raise
        return Source(None, None, file, str(error), str(path))
    if tiling and found.converted.num_classes is None:
        raise InputError(f"--tiling: expected none, since {path} holds no detector")
    return Source(None, found, file, place=str(path))
