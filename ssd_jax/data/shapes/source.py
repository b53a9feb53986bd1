"""A rendered dataset that needs no files: shapes on textured backgrounds, computed from the index."""

import numpy as np

from ssd_jax.data.problems import Problems
from ssd_jax.data.shapes.layout import MAX_OBJECTS, NAMES, place_objects
from ssd_jax.data.shapes.paint import paint
from ssd_jax.errors import InputError
from ssd_jax.types import BACKGROUND, Example

SPLITS = {"train": 4000, "test": 200}  # and their usual lengths


class ShapesSource:
    """Images of one to eight shapes of 8 to 80 % of the shorter side, with tight boxes.

    Seven classes, with two pairs of look-alikes: circle and ring, square and diamond. Sizes,
    colors, shading and the background vary; lines and specks distract. Objects may overlap, but
    at least four fifths of each can be seen. Example ``i`` is a function of (seed, split, i): boxes and
    labels are the same everywhere, pixels up to the rounding of the Pillow version.
    """

    def __init__(
        self,
        *,
        split: str,
        root: str = "",
        class_names: tuple[str, ...] = (),
        image_size: tuple[int, int] = (160, 160),
        length: int = 0,
        seed: int = 0,
        shuffle_labels: bool = False,
    ) -> None:
        """Chooses what is rendered; nothing is rendered yet.

        Args:
          split: "train" or "test"; they share no image.
          root: must be empty.
          class_names: () or exactly the dataset's own.
          image_size: (height, width) in pixels, at least 32 each.
          length: number of images; 0: 4000 of "train", 200 of "test".
          seed: of everything.
          shuffle_labels: gives each picture the objects of another one: a control, from which a
            detector must not learn anything.
        """
        names: tuple[str, ...] = (BACKGROUND, *NAMES)
        if split not in SPLITS:
            raise InputError(f"data split: shapes have {' and '.join(SPLITS)}, got {split!r}")
        if root:
            raise InputError(f"data root: shapes are rendered and need no folder, got {root!r}")
        if class_names and tuple(class_names) not in (names, NAMES):
            raise InputError(f"data class_names: shapes have {', '.join(NAMES)}; got {', '.join(class_names)}")
        if len(image_size) != 2 or min(image_size) < 32:
            raise InputError(f"data shapes.image_size: expected (height, width) of at least 32, got {image_size}")
        if length < 0 or seed < 0:
            raise InputError(f"data shapes.length and seed must not be negative, got {length} and {seed}")
        length = length or SPLITS[split]
        self.class_names: tuple[str, ...] = names
        self.max_boxes, self.problems = MAX_OBJECTS, Problems()
        self.name = f"{length} rendered shapes ({split}, {image_size[0]}x{image_size[1]})"
        self._size, self._length, self._shuffle = (int(image_size[0]), int(image_size[1])), length, shuffle_labels
        self._seed, self._split = seed, split
        self._rendered: dict[int, Example] = {}  # each image is rendered once: 50 kB each at 128x128
        self.sizes = np.tile(np.array(self._size, np.int32), (length, 1))  # [N, 2] (height, width)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self._length:  # also what ends `for example in source`
            raise IndexError(f"index must lie in [0, {self._length}), got {index}")
        if index not in self._rendered:
            self._rendered[index] = self._render(index)
        return self._rendered[index]

    def _render(self, index: int) -> Example:
        objects = place_objects(self._random(index, 0), self._size)
        image = paint(self._random(index, 1), self._size, objects)
        if self._shuffle:
            other = (index + self._length // 2) % self._length
            objects = place_objects(self._random(other, 0), self._size)
        height, width = self._size
        boxes = np.array([item.box for item in objects]) / [width, height, width, height]
        classes = np.array([item.label for item in objects], np.int32)
        none = np.zeros(len(objects), bool)
        return Example(image, self._size, boxes.astype(np.float32), classes, none, none, f"{self._split}_{index:06d}")

    def _random(self, index: int, purpose: int) -> np.random.Generator:
        # One stream each for places and colors: no choice of pixels can move a box.
        key = [self._seed, list(SPLITS).index(self._split), index, purpose]
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
