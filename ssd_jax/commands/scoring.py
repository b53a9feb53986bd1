"""From trained variables to figures: detecting over a source, and the metrics of what is found."""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from ssd_jax import data, inference
from ssd_jax import recipe as recipes
from ssd_jax.commands import checks, setup
from ssd_jax.evaluation import coco, coco_files, voc
from ssd_jax.types import ImageDetections, ImageGroundTruth


class Evaluation(NamedTuple):
    """What was found in the images of a source. The figures are computed when they are asked for."""

    source: Any
    class_names: tuple[str, ...]
    detections: list[ImageDetections]
    truth: list[ImageGroundTruth]

    def voc(self) -> voc.VocResult:
        """Returns the VOC figures."""
        return voc.evaluate(self.detections, self.truth, class_names=self.class_names)

    def coco(self) -> coco.CocoResult:
        """Returns the COCO figures; against the annotation files themselves where there are any."""
        dataset = self.source.coco_dataset() if hasattr(self.source, "coco_dataset") else None
        if dataset is None:
            return coco.evaluate(self.detections, self.truth, class_names=self.class_names)
        missing = len(dataset["images"]) - len(self.source)
        if missing:
            print(f"data: in the COCO figures all objects of {missing} listed images that cannot be used are missed")
        results = coco_files.as_results(self.detections, self.source.image_ids, self.source.category_ids)
        return coco.evaluate_dataset(dataset, results)


# config.evaluate.metric -> the figures that training reports; checkpoints are compared by the first.
METRICS: dict[str, Callable[[Evaluation], dict[str, float]]] = {
    "11point": lambda found: _voc_figures(found, "map_11point", "map_area"),
    "area": lambda found: _voc_figures(found, "map_area", "map_11point"),
    "coco": lambda found: _coco_figures(found),
}


def _voc_figures(found: Evaluation, *names: str) -> dict[str, float]:
    result = found.voc()
    return {name: float(getattr(result, name)) for name in names}


def _coco_figures(found: Evaluation) -> dict[str, float]:
    result = found.coco()
    return {"coco_ap": result.ap, "coco_ap50": result.ap50, "coco_ap75": result.ap75}


def make_evaluator(recipe: recipes.Recipe, network: setup.Network, source: Any, cache: Any = None) -> Callable:
    """Returns evaluate(variables) -> Evaluation, of a whole source.

    ``cache`` is of :func:`open_cache`; without it, each evaluation opens the one that the recipe wants.
    """
    step = inference.make_detect_step(
        network.model,
        recipes.build_detect(recipe, network.default_boxes),
        output_size=recipe["model"]["image_size"],
    )
    detect_step = inference.compile_detect_step(step, network.mesh)
    variables = jax.eval_shape(network.model.init, jax.random.key(0))
    batch = checks.abstract_batch(recipe, recipe["evaluate"]["batch_size"], data.padded_boxes(source))
    checks.check_step(detect_step, variables, batch, "detect, match")
    truth = data.ground_truth(source)
    checks.check_ground_truth(source, truth)
    log = data.OnceLog()

    def evaluate(variables: Any) -> Evaluation:
        stream = data.make_eval_loader(
            source,
            batch_size=recipe["evaluate"]["batch_size"],
            canvas=recipe["loader"]["canvas"],
            num_threads=recipe["loader"]["num_threads"],
            cache=cache or recipe["loader"]["cache"],
            log=log,
        )
        with contextlib.closing(stream) as batches:
            detections = inference.detect_source(detect_step, variables, batches, source, network.mesh)
        return Evaluation(source, network.class_names, detections, truth)

    return evaluate
