"""A detector without a network, which finds what is bright; and pictures and clips for it."""

import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from ssd_jax.inference import DetectedObjects, Unreadable
from ssd_jax.inference.pictures import read_picture

NAMES = ("background", "cat", "dog")
SCORES = (0.9, 0.5)
BOX = (60, 20, 180, 80)  # of the bright object of `scene`
SIZE = (120, 240)  # (height, width)
SQUARE = (100, 255, 60)  # color of the bright square of a clip


class Bright:
    """Finds the rectangle around all bright pixels: a cat of score 0.9, and a dog of 0.5 in the whole image."""

    name, class_names, canvas, score_threshold = "stand-in", NAMES, (300, 300), 0.01
    batch_sizes = (1, 2, 4)

    def stream(self, images, *, batch_size=None):
        numbered = enumerate(images, start=1)
        while batch := list(itertools.islice(numbered, batch_size or 4)):  # reads ahead, as the real one does
            yield from [self.detect(read_picture(image, self.canvas, number=number)) for number, image in batch]

    def detect(self, picture):
        if isinstance(picture, Unreadable):
            return picture
        height, width = picture.size
        rows, columns = np.nonzero(picture.pixels.mean(axis=-1) > 128)
        scale = np.array([width, height] * 2) / np.array([picture.pixels.shape[1::-1]] * 2).ravel()
        boxes = np.array([[0, 0, width, height]], np.float32)
        if len(rows):
            found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) * scale
            boxes = np.concatenate([found[None].astype(np.float32), boxes])
        kept = slice(2 - len(boxes), None)
        scores, labels = np.array(SCORES, np.float32)[kept], np.array([1, 2], np.int32)[kept]
        return DetectedObjects(picture.id, picture.size, boxes, scores, labels, NAMES[1:][kept])


def scene() -> Image.Image:
    """A bright box on a dark ground; neither is gray, so that a change of colors is seen."""
    pixels = np.full((*SIZE, 3), (40, 20, 60), np.uint8)
    pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] = (250, 220, 180)
    return Image.fromarray(pixels)


def write_clip(
    path: Path,
    stamps,
    time_base: Fraction,
    *,
    rate: Fraction,
    size=(96, 160),
    sound: str = "",
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
) -> list[np.ndarray]:
    """Writes frames with a moving bright square and their number, as eight blocks along the bottom; returns them."""
    import av

    frames = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"crf": "10"} if codec == "libx264" else {})
        stream.height, stream.width, stream.pix_fmt = *size, pixel_format
        stream.codec_context.time_base = time_base
        audio = container.add_stream(sound, rate=44100, layout="mono") if sound else None
        for number, stamp in enumerate(stamps):
            pixels = np.full((*size, 3), 30, np.uint8)
            left = 4 + 4 * number
            pixels[10:40, left : left + 24] = SQUARE
            for bit in range(8):
                if number >> bit & 1:
                    pixels[-16:, 16 * bit : 16 * bit + 16] = 110  # not bright enough to be found
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = stamp, time_base
            container.mux(stream.encode(frame))
            frames.append(pixels)
        container.mux(stream.encode())
        if audio is not None:
            wave = (8000 * np.sin(np.arange(1024) / 10)).astype(np.int16)[None]
            for number in range(45):
                frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
                frame.sample_rate, frame.pts = 44100, 1024 * number
                container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return frames


def read_clip(path: Path):
    """Returns the frames [n, h, w, 3] of a clip, their times in seconds, the average rate, and the sound's packets."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoded = [(frame.to_ndarray(format="rgb24"), frame.time) for frame in container.decode(stream)]
        rate = stream.average_rate
    with av.open(str(path)) as container:
        sound = [bytes(packet) for packet in container.demux() if packet.stream.type == "audio" and packet.size]
    return np.stack([pixels for pixels, _ in decoded]), [time for _, time in decoded], rate, sound


def number_of(pixels: np.ndarray) -> int:
    """Reads the number that `write_clip` has written into a frame."""
    return sum((pixels[-10:-6, 16 * bit + 6 : 16 * bit + 10].mean() > 70) << bit for bit in range(8))
