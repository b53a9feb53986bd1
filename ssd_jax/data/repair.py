"""What is done to an annotated box that cannot be used as it stands."""

import math

Box = tuple[float, float, float, float]

# An edge that is passed by less is not worth telling: boxes stated as fractions, or rounded to 1/100 px as COCO's,
# pass it by rounding alone.
ROUNDING = 0.5  # pixels


def repair_box(box: Box, size: tuple[int, int]) -> tuple[Box | None, list[str]]:
    """Makes a box usable, or drops it.

    Args:
      box: (xmin, ymin, xmax, ymax) in pixels.
      size: (height, width) of the image, in pixels.

    Returns:
      The box with ``0 <= xmin < xmax <= width`` and likewise for y, or None if there is no such
      box, and the kinds of problems met (see ``problems.PROBLEM_KINDS``). Clipping away less than half a
      pixel is no problem; leaving less than that counts as outside.
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
    inside = max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height)
    # A sliver that happens to be left of a box beyond the edge is none of what was annotated.
    if min(inside[2] - inside[0], inside[3] - inside[1]) < min(ROUNDING, x2 - x1, y2 - y1):
        return None, [*found, "outside"]
    if max(-x1, -y1, x2 - width, y2 - height) >= ROUNDING:
        found.append("clipped")
    return inside, found
