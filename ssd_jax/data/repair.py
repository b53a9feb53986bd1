"""What is done to an annotated box that cannot be used as it stands."""

import math

Box = tuple[float, float, float, float]


def repair_box(box: Box, size: tuple[int, int]) -> tuple[Box | None, list[str]]:
    """Makes a box usable, or drops it.

    Args:
      box: (xmin, ymin, xmax, ymax) in pixels.
      size: (height, width) of the image, in pixels.

    Returns:
      The box with ``0 <= xmin < xmax <= width`` and likewise for y, or None if there is no such
      box, and the kinds of problems met (see ``problems.KINDS``).
    """
    if not all(math.isfinite(value) for value in box):
        return None, ["not_finite"]
    x1, y1, x2, y2 = box
    if x1 == x2 or y1 == y2:
        return None, ["zero_size"]
    found = []
    if x1 > x2 or y1 > y2:
        found.append("reversed")
        x1, y1, x2, y2 = min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
    height, width = size
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        return None, [*found, "outside"]
    if x1 < 0 or y1 < 0 or x2 > width or y2 > height:
        found.append("clipped")
        x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height)
    return (x1, y1, x2, y2), found
