"""Which classes a source has, and what becomes of objects of others."""

from collections.abc import Sequence

import numpy as np

from ssd_jax.data.judge import Record, select, with_background
from ssd_jax.data.problems import Problems
from ssd_jax.data.statements import Reading
from ssd_jax.errors import InputError
from ssd_jax.types import BACKGROUND


def choose_names(records: Sequence[Record], reading: Reading, problems: Problems) -> tuple[str, ...]:
    """Returns the classes, background first: those that the format states, else its usual ones, else those found.

    Raises:
      InputError: no class is known, or one is called "background".
    """
    found = {name for record in records for name in record.names}
    if BACKGROUND in found:
        raise InputError(f"{reading.name}: {BACKGROUND!r} cannot be the class of an object")
    if reading.class_names:
        return with_background(reading.class_names)
    unusual = found - set(reading.usual_names)
    if reading.usual_names and not unusual:
        return with_background(reading.usual_names)
    if not found:
        lost = f" that can be used ({'; '.join(problems.lines())})" if problems else ""
        raise InputError(
            f"{reading.name}: found no object{lost}, so the classes must be named: "
            "--config.data.class_names=\"('a', 'b')\""
        )
    if found & set(reading.usual_names):  # a slip of the pen would change the classes of everything
        for record in records:
            for name in dict.fromkeys(record.names):
                if name in unusual:
                    problems.add("unusual_class", record.id, name)
    return (BACKGROUND, *sorted(found))


def drop_unknown(
    records: list[Record], class_names: tuple[str, ...], unknown: str, where: str, problems: Problems
) -> list[Record]:
    """Leaves out objects of other classes, or refuses them all in one sentence.

    Raises:
      InputError: there are such objects, and ``unknown`` is "error".
    """
    known = set(class_names[1:])
    strange = sorted({name for record in records for name in record.names} - known)
    if strange and unknown == "error":
        raise InputError(
            f"data split: {where} has objects of classes that are not in class_names: {', '.join(strange)} "
            f"(known: {', '.join(class_names[1:])}; --config.data.unknown=drop leaves them out)"
        )
    if not strange:
        return records
    return [_without_unknown(record, known, problems) for record in records]


def _without_unknown(record: Record, known: set[str], problems: Problems) -> Record:
    keep = np.array([name in known for name in record.names], bool)
    for name in record.names:
        if name not in known:
            problems.add("unknown_class", record.id, name)
    return select(record, keep)
