"""What a source of weights holds, array by array."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ssd_jax.commands.weights.sources import Source
from ssd_jax.weights import published
from ssd_jax.weights.foreign import Foreign
from ssd_jax.weights.network import TrainedNetwork, named_arrays
from ssd_jax.weights.readers import TensorFile

LONGEST = 100  # letters of a value that is shown


def lines(source: Source) -> list[str]:
    """Returns the listing, a line a string."""
    if source.trained is not None:
        return [*_trained(source.trained), "", *_plain(named_arrays(source.trained.variables))]
    if source.file is None:
        raise ValueError("source: expected one that holds something")
    if source.foreign is None:
        return [*_file(source.file), "", *_plain(source.file.tensors), "", f"note: {source.unknown}"]
    return [*_file(source.file), *_foreign(source.foreign), "", *_mapped(source.foreign, source.file)]


def _trained(trained: TrainedNetwork) -> Iterator[str]:
    yield f"detector: {_printable(trained.name)}"
    yield f"classes:  {len(trained.class_names) - 1}: {_short(', '.join(trained.class_names[1:]))}"
    model = trained.recipe["model"]
    boxes = len(trained.default_boxes)
    yield f"network:  {model['backbone']}, input {_by(model['image_size'])}, {boxes:,} default boxes"
    for title, facts in (("origin: ", published.without_folders(trained.origin)), ("training:", trained.training)):
        if facts:
            yield f"{title} {_short(_printable(', '.join(f'{key} {value}' for key, value in facts.items())))}"


def _file(file: TensorFile) -> Iterator[str]:
    numbers = sum(array.size for array in file.tensors.values())
    yield f"format:   {file.format}, {len(file.tensors)} arrays, {numbers:,} numbers"
    for key, value in ((key, value) for key, value in file.metadata.items() if value):
        yield f"metadata: {_printable(key)} = {_short(_printable(value))}"


def _foreign(file: Foreign) -> Iterator[str]:
    converted = file.converted
    yield f"network:  {converted.family}"
    yield f"SHA-256:  {file.origin['sha256']}"
    if converted.num_classes is not None:
        yield f"classes:  {converted.num_classes} with the background"
    if converted.normalization is not None:
        mean, std = (", ".join(f"{value:.6g}" for value in values) for values in converted.normalization)
        yield f"images:   (RGB in 0..255 - ({mean})) / ({std})"
    for key, value in converted.config.items():
        yield f"config:   {key} = {_short(str(value))}"
    for note in converted.notes:
        yield f"note:     {note}"


def _mapped(file: Foreign, arrays: TensorFile) -> Iterator[str]:
    uses = {use.source: use for use in file.converted.uses}
    rows = [("in the file", "shape", "type", "becomes", "")]
    for name, array in arrays.tensors.items():
        use = uses.get(name)
        becomes, how = (use.target, ", ".join(use.how)) if use else ("-", "no counterpart here")
        rows.append((_printable(name), _by(array.shape), str(array.dtype), becomes, how))
    yield from _columns(rows)


def _plain(arrays: Mapping[str, Any]) -> Iterator[str]:
    rows = [("array", "shape", "type", "numbers")]
    for name, array in arrays.items():
        rows.append((_printable(name), _by(array.shape), str(array.dtype), f"{math.prod(array.shape):,}"))
    total = sum(math.prod(array.shape) for array in arrays.values())
    yield from _columns([*rows, (f"{len(arrays)} arrays", "", "", f"{total:,}")])


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "()"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 4]} ..."


def _printable(value: Any) -> str:
    """Returns a name or value of a file in letters that cannot move the cursor."""
    text = str(value)
    return text if text.isprintable() else ascii(text)[1:-1]
