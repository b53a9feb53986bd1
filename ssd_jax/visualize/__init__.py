"""Pictures of boxes: ``draw_boxes`` on one image, ``contact_sheet`` of many. NumPy and Pillow only.

Text is set in the font built into Pillow, the same on every machine, which has ASCII letters only: accents are dropped,
and a class name without any such letter becomes its number. ``font_file`` names a font with other letters.
"""

from ssd_jax.visualize.draw import draw_boxes
from ssd_jax.visualize.palette import class_color
from ssd_jax.visualize.sheet import Panel, contact_sheet, detection_panels, save_contact_sheet

__all__ = ["Panel", "class_color", "contact_sheet", "detection_panels", "draw_boxes", "save_contact_sheet"]
