"""Contact sheets of what a detector finds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ssd_jax import data, visualize
from ssd_jax.types import ImageDetections, ImageGroundTruth

SCORE = 0.4  # detections below it are not drawn


def save_detection_sheet(
    path: Path,
    source: Any,
    detections: Sequence[ImageDetections],
    ground_truth: Sequence[ImageGroundTruth],
    *,
    class_names: Sequence[str],
    num_pictures: int,
    title: str,
    max_bytes: int | None = None,
) -> None:
    """Draws detections beside the ground truth, for images spread evenly over a source.

    Args:
      path: of the PNG file.
      source: of the images.
      detections, ground_truth: by id.
      class_names: background first.
      num_pictures: images shown, at most.
      title: of the sheet.
      max_bytes: of the file; None = no limit.
    """
    found = {entry.id: entry for entry in detections}
    truth = {entry.id: entry for entry in ground_truth}
    groups = []
    for index in np.unique(np.linspace(0, len(source) - 1, num_pictures).round().astype(int)):
        example = source[int(index)]
        if example.id in found and example.id in truth:
            panels = visualize.detection_panels(
                annotated_frame(example), found[example.id], truth[example.id], score_threshold=SCORE
            )
            groups.append(panels)
    visualize.save_contact_sheet(
        path,
        groups,
        class_names=class_names,
        title=title,
        subtitle=f"left: detections with a score of at least {SCORE:g}; right: ground truth",
        max_bytes=max_bytes,
    )


def annotated_frame(example: Any) -> np.ndarray:  # [h, w, 3] uint8
    """Returns the picture in the frame that its boxes are stated in; gray if it cannot be read."""
    frame = read_frame(example)
    return np.full((*example.size, 3), 128, np.uint8) if frame is None else frame


def read_frame(example: Any) -> np.ndarray | None:  # [h, w, 3] uint8
    """Returns the picture in the frame that its boxes are stated in; None if it cannot be read."""
    try:
        pixels = data.decode_image(example.image, example.size)
    except data.ImageError:
        return None
    if pixels.shape[:2] == tuple(example.size):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((example.size[1], example.size[0])))
