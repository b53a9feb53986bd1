"""From trained variables to figures: detecting over a source, and the metrics of what is found."""

import contextlib
import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from ssd_jax import data, inference, objective, processes
from ssd_jax import recipe as recipes
from ssd_jax.commands import checks, setup
from ssd_jax.evaluation import coco, coco_files, ilsvrc, voc
from ssd_jax.types import ImageDetections, ImageGroundTruth, LossParts


class Evaluation(NamedTuple):
    """What was found in the images of a source. The figures are computed when they are asked for."""

    source: Any
    class_names: tuple[str, ...]
    detections: list[ImageDetections]
    truth: list[ImageGroundTruth]
    losses: Mapping[str, float] = MappingProxyType({})  # of :func:`validation_losses`
    seconds: inference.Seconds | None = None  # None: nothing was computed, the detections come from files

    def voc(self) -> voc.VocResult:
        """Returns the VOC figures."""
        return voc.evaluate(self.detections, self.truth, class_names=self.class_names)

    def ilsvrc(self) -> ilsvrc.IlsvrcResult:
        """Returns the ILSVRC figures."""
        return ilsvrc.evaluate(self.detections, self.truth, class_names=self.class_names)

    def coco(self) -> coco.CocoResult:
        """Returns the COCO figures; against the annotation files themselves where there are any.

        By the faster library where it is installed, which gives the same bits.
        """
        dataset = self.source.coco_dataset() if hasattr(self.source, "coco_dataset") else None
        if dataset is None:
            return coco.evaluate(self.detections, self.truth, class_names=self.class_names, engine="auto")
        missing = len(dataset["images"]) - len(self.source)
        if missing:
            _say_once(
                f"data: in the COCO figures all objects of {missing} listed images that cannot be used are missed"
            )
        results = coco_files.as_results(self.detections, self.source.image_ids, self.source.category_ids)
        return coco.evaluate_dataset(dataset, results, engine="auto")


@functools.cache
def _say_once(line: str) -> None:
    print(line)


# config.evaluate.metric -> the figures that training reports; checkpoints are compared by the first.
METRICS: dict[str, Callable[[Evaluation], dict[str, float]]] = {
    "11point": lambda found: _voc_figures(found, "map_11point", "map_area"),
    "area": lambda found: _voc_figures(found, "map_area", "map_11point"),
    "coco": lambda found: _coco_figures(found),
    "ilsvrc": lambda found: {"ilsvrc_map": found.ilsvrc().mean_ap},
}


def _voc_figures(found: Evaluation, *names: str) -> dict[str, float]:
    result = found.voc()
    return {name: float(getattr(result, name)) for name in names}


def _coco_figures(found: Evaluation) -> dict[str, float]:
    result = found.coco()
    return {"coco_ap": result.ap, "coco_ap50": result.ap50, "coco_ap75": result.ap75}


def figures(evaluation: Evaluation, metric: str) -> dict[str, float]:
    """Returns the figures of a metric, the one that checkpoints are compared by first, and the validation losses.

    The first process computes them for all; every process calls this.

    Args:
      evaluation: of the whole source.
      metric: a key of ``METRICS``.
    """
    return processes.from_first(lambda: {**METRICS[metric](evaluation), **evaluation.losses})


def validation_losses(parts: LossParts, *, location_weight: float) -> dict[str, float]:
    """Returns the loss of a whole source, as of one batch of all its images (``losses.fraction`` with per="global").

    Args:
      parts: un-normalized loss of each image [N], host arrays.
      location_weight: of ``losses.fraction``.

    Returns:
      Location and confidence loss per matched default box, and their weighted sum.
    """
    matched = max(int(parts.positives.sum()), 1)
    location, confidence = (float(np.sum(part, dtype=np.float64)) / matched for part in parts[:2])
    return {
        "validation_loss": confidence + location_weight * location,
        "validation_location_loss": location,
        "validation_confidence_loss": confidence,
    }


def make_evaluator(
    recipe: recipes.Recipe, network: setup.Network, source: Any, cache: Any = None, *, measured: bool = True
) -> Callable:
    """Returns evaluate(variables, *, should_stop, on_images) -> Evaluation, or None if stopped before its end.

    Every process calls it with the same variables and gets the same result. ``should_stop()`` is asked
    once a batch and has to answer alike in all of them, as ``StopSignal.agreed`` does; by default nothing
    stops it. ``on_images`` is told, batch by batch, how many images have been finished.

    Args:
      recipe: how to detect, match and evaluate.
      network: of ``setup.build_network``.
      source: the images.
      cache: of ``inputs.open_cache``; without it, each evaluation opens the one that the recipe wants.
      measured: whether objects are needed, since figures will be computed of what is found.
    """
    truth = data.ground_truth(source)
    if measured:
        checks.check_ground_truth(source, truth)
    steps = inference.compile_evaluation_steps(_evaluation_steps(recipe, network), network.mesh)
    variables = jax.eval_shape(network.model.init, jax.random.key(0))
    batch = checks.abstract_batch(recipe, recipe["evaluate"]["batch_size"], data.padded_boxes(source))
    checks.check_step(_in_one(steps), variables, batch, "detect, match, loss")
    log = data.OnceLog()

    def evaluate(
        variables: Any,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        on_images: Callable[[int], object] = lambda count: None,
    ) -> Evaluation | None:
        stream = data.make_eval_loader(
            source,
            batch_size=recipe["evaluate"]["batch_size"],
            canvas=recipe["loader"]["canvas"],
            num_threads=recipe["loader"]["num_threads"],
            on_error=recipe["loader"]["on_error"],
            timeout_s=recipe["loader"]["timeout_s"],
            shard=(jax.process_index(), jax.process_count()),
            cache=cache or recipe["loader"]["cache"],
            log=log,
        )
        with contextlib.closing(stream) as batches:
            found = inference.evaluate_source(
                steps, variables, batches, source, network.mesh, should_stop=should_stop, on_images=on_images
            )
        if found is None:
            return None
        losses = validation_losses(found.losses, location_weight=recipe["loss"]["location_weight"])
        return Evaluation(source, network.class_names, found.detections, truth, losses, found.seconds)

    return evaluate


def _in_one(steps: inference.EvaluationSteps) -> Callable:
    return lambda variables, batch: steps.judge(steps.predict(variables, batch), batch)


def _evaluation_steps(recipe: recipes.Recipe, network: setup.Network) -> inference.EvaluationSteps:
    loss = recipe["loss"]
    return inference.make_evaluation_steps(
        network.model,
        recipes.build_detect(recipe, network.default_boxes),
        objective.make_target_fn(
            network.default_boxes,
            match_options=recipe["match"],
            ignore_cross_boundary=loss["ignore_cross_boundary"],
        ),
        output_size=recipe["model"]["image_size"],
        negative_ratio=loss["negative_ratio"],
        empty_negatives=loss["empty_negatives"],
    )
