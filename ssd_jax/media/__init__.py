"""What a detector is given to look at, and the pictures and videos that show what it found.

``inputs`` turns paths, folders, globs and lists into files, ``names`` gives each a name of its own among what is
written, ``pictures`` reads, annotates and encodes images; ``video_reading`` and ``video_writing``, the only files
that touch PyAV (the extra "video"), do so with clips; ``json_lines`` writes a line at a time.
"""

from ssd_jax.media.inputs import Found, Listing, camera_number, find
from ssd_jax.media.json_lines import JsonLines
from ssd_jax.media.names import check_inputs_stay, plan
from ssd_jax.media.pictures import annotate, encode, read_picture
from ssd_jax.media.video_reading import Clip, Frame, check_installed, open_camera, open_clip
from ssd_jax.media.video_writing import CopyError, VideoWriter

__all__ = [
    "Clip",
    "CopyError",
    "Found",
    "Frame",
    "JsonLines",
    "Listing",
    "annotate",
    "camera_number",
    "VideoWriter",
    "check_inputs_stay",
    "check_installed",
    "encode",
    "find",
    "open_camera",
    "open_clip",
    "plan",
    "read_picture",
]
