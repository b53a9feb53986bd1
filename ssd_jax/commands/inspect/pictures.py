"""The pictures of ``commands.inspect``: PNG files to keep, and smaller JPEG ones for the page to hold."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ssd_jax import files, inspection, visualize
from ssd_jax.commands.inspect.findings import Findings, SplitFindings

DRAWS = 3  # epochs shown of each augmented image
WIDTH = 1600  # pixels of a sheet
EMBEDDED_BYTES = 2_400_000  # of one picture within the page
QUALITIES = (86, 78, 68, 55, 40)  # of JPEG, tried in turn


class Picture(NamedTuple):
    """One sheet."""

    path: Path  # the PNG file
    jpeg: bytes
    size: tuple[int, int]  # (height, width)
    count: int  # images shown


class Pictures(NamedTuple):
    """All sheets; None: not wanted, or there is nothing to show."""

    samples: Picture | None
    priors: Picture | None


def draw(findings: Findings, folder: Path, *, num_samples: int, num_priors: int) -> Pictures:
    """Draws the sheets and writes them as PNG files.

    Args:
      findings: of the data; the first split that was read is drawn.
      folder: that receives the files.
      num_samples: augmented images, 0 = none.
      num_priors: images with the default boxes that their objects take, 0 = none.
    """
    if not findings.splits or not findings.step_holds:
        return Pictures(None, None)
    part = findings.splits[0]
    return Pictures(
        _draw_samples(findings, part, folder, num_samples), _draw_priors(findings, part, folder, num_priors)
    )


def _draw_samples(findings: Findings, part: SplitFindings, folder: Path, count: int) -> Picture | None:
    chosen = _spread(np.flatnonzero(_decodable(part)), count)
    groups = inspection.augmented(part.source, chosen, findings.recipe, num_draws=DRAWS)
    return _save(folder / "samples.png", groups, part, len(groups)) if groups else None


def _draw_priors(findings: Findings, part: SplitFindings, folder: Path, count: int) -> Picture | None:
    network = findings.network
    if network is None:
        return None
    with_objects = np.zeros(len(part.source), bool)
    with_objects[part.annotations.image[part.learned]] = True
    groups = inspection.panels(
        part.source,
        _spread(np.flatnonzero(with_objects & _decodable(part)), count),
        findings.recipe,
        network.model,
        network.default_boxes,
    )
    half = (len(network.model.levels) + 2) // 2  # in one line, seven pictures would be too small to see a grid
    lines = [line for group in groups for line in (group[:half], group[half:]) if line]
    return _save(folder / "default_boxes.png", lines, part, len(groups)) if groups else None


def _decodable(part: SplitFindings) -> np.ndarray:  # [N] bool
    """Tells which images can be shown, as far as that is known."""
    if part.files is None:
        return np.ones(len(part.source), bool)
    return np.array([digest is not None for digest in part.files.digests], bool)


def _spread(indices: np.ndarray, count: int) -> list[int]:
    """Returns at most so many of the indices, evenly from the first to the last."""
    places = np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int)
    return indices[places].tolist()


def _save(path: Path, lines: Sequence[Sequence[visualize.Panel]], part: SplitFindings, count: int) -> Picture:
    names = part.annotations.class_names
    sheet = visualize.contact_sheet(lines, class_names=names, width=WIDTH, groups_per_line=1)
    picture = Image.fromarray(sheet)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    files.write_bytes(path, buffer.getvalue())
    return Picture(path, _encode_jpeg(picture), (picture.height, picture.width), count)


def _encode_jpeg(picture: Image.Image) -> bytes:
    """Returns the picture at the best of the qualities that fits, or at the lowest."""
    data = b""
    for quality in QUALITIES:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
        data = buffer.getvalue()
        if len(data) <= EMBEDDED_BYTES:
            break
    return data
