"""Sources of annotated images, and the loaders that decode, pad and batch them on the host.

Importing this package imports Pillow but not Grain, which the loaders need only when they run.
"""

from ssd_jax.data.assemble import OnceLog, reductions
from ssd_jax.data.cache import open_cache
from ssd_jax.data.decode import ImageError, decode_image
from ssd_jax.data.formats.voc import VOC_CLASSES
from ssd_jax.data.loader import make_eval_loader, make_loader, padded_boxes, skipped
from ssd_jax.data.problems import Problems
from ssd_jax.data.records import RecordSource
from ssd_jax.data.shapes.source import ShapesSource
from ssd_jax.data.sources import KINDS, Source, ground_truth, make_source

__all__ = [
    "KINDS",
    "VOC_CLASSES",
    "ImageError",
    "OnceLog",
    "Problems",
    "ShapesSource",
    "Source",
    "RecordSource",
    "decode_image",
    "ground_truth",
    "make_eval_loader",
    "make_loader",
    "make_source",
    "open_cache",
    "padded_boxes",
    "reductions",
    "skipped",
]
