"""A trained detector that takes images of any kind and size, and answers in their pixels."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np

from ssd_jax import artifact, parallel, weights
from ssd_jax import recipe as recipes
from ssd_jax.errors import InputError
from ssd_jax.inference.arguments import as_list, as_several, batch_sizes_of, check_count
from ssd_jax.inference.compiled import Programs
from ssd_jax.inference.objects import DetectedObjects, above, objects_in
from ssd_jax.inference.pictures import ImageLike, Picture, Unreadable, in_batches, lay_out, read_ahead
from ssd_jax.inference.program import make_program
from ssd_jax.types import Detections


class Detector:
    """A trained detector: ``Detector.load(place)(images)``.

    Images are laid on one canvas, that of the recipe, and batches come in few sizes, so that a handful of programs
    is compiled, each when it is first needed or by :meth:`warm_up`. The result of an image does not
    depend on what it is batched with. Several threads may use one detector.

    It belongs to the process that made it: it cannot be pickled, and in a process that ``os.fork`` made (as
    multiprocessing does by "fork") it may hang, since JAX's threads do not come along. Load it where it is used.

    Attributes:
      name: of the run or file, for messages.
      class_names: [0] == "background".
      canvas: (height, width); larger images are reduced to fit, as evaluate.py does.
      batch_sizes: those that programs are compiled for, in ascending order.
      score_threshold: the lowest score that is found at all.
      recipe: the settings of ``recipe.detection_part``.
    """

    def __init__(
        self,
        step: Callable[[Any, jax.Array, jax.Array], Detections],
        variables: Any,
        *,
        name: str,
        class_names: Sequence[str],
        recipe: recipes.Recipe,
        batch_size: int = 32,
        devices: Sequence[Any] | None = None,
        only_this_size: bool = False,
    ) -> None:
        """Takes a program apart from where it was read; see :meth:`load`.

        Args:
          step: as ``Program.run``.
          variables: its first argument.
          name, class_names, recipe: as the attributes.
          batch_size: the most images of one call of the program, rounded up to a multiple of the devices.
          devices: that share each batch; None = all of this process.
          only_this_size: whether the program takes batches of this size alone.

        Raises:
          TypeError: if batch_size is no whole number.
          ValueError: if batch_size is below 1, or is the only one and cannot be shared by the devices; or if there
            are no devices.
        """
        check_count("batch_size", batch_size)
        devices = jax.local_devices() if devices is None else devices
        if not len(devices):
            raise ValueError("devices: expected at least one, got none")
        self.name, self.class_names, self.recipe = name, tuple(class_names), recipes.detection_part(recipe)
        self.canvas: tuple[int, int] = tuple(self.recipe["loader"]["canvas"])
        self.score_threshold = float(self.recipe["detect"]["score_threshold"])
        self._mesh = parallel.data_mesh(devices)
        if only_this_size and batch_size % self._mesh.size:
            raise ValueError(f"devices: expected a divisor of the batch of {batch_size}, got {self._mesh.size}")
        self.batch_sizes = (batch_size,) if only_this_size else batch_sizes_of(batch_size, self._mesh.size)
        split, whole = parallel.SPLIT, parallel.REPLICATED
        mapped = parallel.data_parallel(step, self._mesh, in_specs=(whole, split, split), out_specs=split)
        self._programs = Programs(mapped, self.batch_sizes)
        self._variables = parallel.replicate(variables, self._mesh)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled or copied, since its programs and arrays belong to the devices "
            "of this process; use Detector.load in the other one"
        )

    @classmethod
    def load(
        cls,
        place: str | PathLike[str],
        *,
        step: int | None = None,
        batch_size: int = 32,
        devices: Sequence[Any] | None = None,
    ) -> "Detector":
        """Reads a detector.

        Args:
          place: the --workdir of a run or ``WORKDIR@STEP``, a published file of safetensors, or a program that
            export.py wrote (docs/deploy.md).
          step: of a run; None = the best by metric, else the newest.
          batch_size: as of the constructor; a program exported for one size has that.
          devices: as of the constructor; exported programs run on one, by default the first.

        Raises:
          InputError: if it is none of these or damaged, or exported for other devices.
        """
        path = Path(os.path.expanduser(place))
        if path.is_file() and artifact.is_artifact(path):
            if step is not None:
                raise InputError(f"{path}: expected no step of a file, got {step}")
            found = artifact.read(path)
            return cls(
                artifact.make_run(found),
                found.weights,
                name=found.name,
                class_names=found.class_names,
                recipe=found.recipe,
                batch_size=found.batch_size or batch_size,
                devices=jax.local_devices()[:1] if devices is None else devices,
                only_this_size=found.batch_size is not None,
            )
        return cls.of(weights.read(place, step=step), batch_size=batch_size, devices=devices)

    @classmethod
    def of(
        cls, trained: weights.TrainedNetwork, *, batch_size: int = 32, devices: Sequence[Any] | None = None
    ) -> "Detector":
        """Makes a detector of what has been read already."""
        return cls(
            make_program(trained).run,
            trained.variables,
            name=trained.name,
            class_names=trained.class_names,
            recipe=trained.recipe,
            batch_size=batch_size,
            devices=devices,
        )

    @property
    def compilations(self) -> int:
        """How many programs have been compiled; never more than there are ``batch_sizes``."""
        return len(self._programs)

    def __call__(
        self, images: ImageLike | Sequence[ImageLike], *, score_threshold: float | None = None
    ) -> list[DetectedObjects]:
        """Detects objects.

        Args:
          images: one or several: paths, encoded bytes, images of Pillow, uint8 arrays (of NumPy or JAX) [h, w, 3]
            RGB or [h, w] gray, or one array [n, h, w, 3].
          score_threshold: leave out objects that score less; None = the lowest that is found.

        Returns:
          One for each image, in their order; a list also for a single image.

        Raises:
          InputError: if an image cannot be read, by its name.
          TypeError: if one is nothing of the kind.
          ValueError: if score_threshold is below the detector's own, or not a number.
        """
        if score_threshold is not None and not score_threshold >= self.score_threshold:  # also of nan
            raise ValueError(
                f"score_threshold: expected at least {self.score_threshold}, below which this detector finds nothing, "
                f"got {score_threshold}"
            )
        found = []
        for result in self.stream(as_list(images)):
            if isinstance(result, Unreadable):
                raise InputError(f"{result.id}: cannot be used: {result.reason}")
            found.append(result if score_threshold is None else above(result, score_threshold))
        return found

    def stream(
        self, images: Iterable[ImageLike], *, batch_size: int | None = None
    ) -> Iterator[DetectedObjects | Unreadable]:
        """Detects objects in any number of images, which are read as they are needed.

        Images are decoded ahead in threads, and the device works on a batch while the results of the one before are
        handed out. Closing the iterator ends both. Images of Pillow are decoded as they come, in the thread that
        iterates: Pillow's are not for several threads. An array must stay as it is until its result is there.

        Args:
          images: any iterable of what :meth:`__call__` takes, or one array [n, h, w, 3].
          batch_size: images a batch; None = the largest.

        Yields:
          For each image what was found, or why it cannot be read, in their order.

        Raises:
          TypeError: if images is a single one, or batch_size no whole number.
          ValueError: if batch_size is below 1 or above the largest.
        """
        rows = self.batch_sizes[-1] if batch_size is None else batch_size
        check_count("batch_size", rows, self.batch_sizes[-1])
        return self._stream(as_several(images), rows)

    def _stream(self, images: Iterable[ImageLike], rows: int) -> Iterator[DetectedObjects | Unreadable]:
        pending: tuple[list[Picture | Unreadable], Any] | None = None
        used = 1  # a last, smaller batch takes the program of those before it: to compile one more would take longer
        for batch in in_batches(read_ahead(images, self.canvas, 2 * rows), rows):
            pictures = [one for one in batch if isinstance(one, Picture)]
            used = max(used, self._rows(len(pictures)))
            started = batch, self._start(pictures, used)
            if pending is not None:
                yield from self._finish(*pending)
            pending = started
        if pending is not None:
            yield from self._finish(*pending)

    def warm_up(self, batch_sizes: Iterable[int] | None = None) -> None:
        """Compiles the programs of these numbers of images, or of all ``batch_sizes``, and runs each once.

        Raises:
          TypeError: if one is no whole number.
          ValueError: if one is below 1 or above the largest.
        """
        counts = self.batch_sizes if batch_sizes is None else tuple(batch_sizes)
        for count in counts:
            check_count("batch_sizes", count, self.batch_sizes[-1])
        for count in counts:
            black = Picture("", (1, 1), np.zeros((1, 1, 3), np.uint8))
            jax.block_until_ready(self._start([black] * count, self._rows(count)))

    def _rows(self, count: int) -> int:
        """Returns the smallest size of a batch that so many pictures fit into."""
        return next(size for size in self.batch_sizes if size >= count)

    def _start(self, pictures: list[Picture], rows: int) -> Any:
        """Starts to detect in a batch of so many rows; the result is on its way."""
        if not pictures:
            return None
        arguments = self._variables, *parallel.split(lay_out(pictures, self.canvas, rows), self._mesh)
        return self._programs.of(rows, *arguments)(*arguments)

    def _finish(self, batch: list[Picture | Unreadable], started: Any) -> Iterator[DetectedObjects | Unreadable]:
        found = jax.device_get(started)
        rows = itertools.count()
        for one in batch:
            yield one if isinstance(one, Unreadable) else objects_in(found, next(rows), one, self.class_names)
