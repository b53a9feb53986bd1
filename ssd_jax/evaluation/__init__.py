"""Metrics on the host: ``voc`` (average precision by the VOC devkit) and ``coco`` (the twelve figures of the COCO API).

Both read ``ImageDetections`` and ``ImageGroundTruth`` (pixels of the original image) and return a
NamedTuple that ``as_table`` turns into text and ``as_dict`` into something JSON can hold.
docs/evaluation.md says which rule each number follows. Importing this package imports neither module.
"""
