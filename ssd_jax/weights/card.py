"""The card that goes with published weights: what they are, for what images, where they come from, how to use them."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssd_jax.weights import published
from ssd_jax.weights.mappings import Normalization
from ssd_jax.weights.network import TrainedNetwork, named_arrays

SHOWN = 100  # classes that are listed
# Which recipe has a base, by an array that none before it has.
RECIPES = {
    "backbone/layer1_0_conv3/kernel": "ssd300_resnet50_coco.py",
    "backbone/layer1_0_conv1/kernel": "ssd300_resnet34_coco.py",
    "backbone/block10_depthwise/kernel": "ssdlite300_mobilenetv2_voc.py",
    "": "ssd300_voc.py",
}
NOT_STATED = "not stated by whoever published it"


def card(trained: TrainedNetwork, *, file: str, sha256: str, license_: str = "", notes: Sequence[str] = ()) -> str:
    """Returns the card of a detector in Markdown, with the heading that model hubs read.

    Args:
      trained: what was written.
      file: name of the file of weights.
      sha256: of that file.
      license_: under which it may be used; "" = not stated.
      notes: sentences on what differs from where the weights come from.
    """
    recipe, training = trained.recipe, trained.training
    model, detect = recipe["model"], recipe["detect"]
    names = trained.class_names[1:]
    height, width = model["image_size"]
    parameters = sum(leaf.size for name, leaf in named_arrays(trained.variables).items() if "batch_stats" not in name)
    rows = [
        ("input", f"{height} x {width} pixels (height x width), RGB"),
        ("backbone", _text(model["backbone"])),
        ("parameters", f"{parameters:,}"),
        ("default boxes", f"{len(trained.default_boxes):,}"),
        ("classes", f"{len(names)}"),
        ("scores from", f"{detect['score_threshold']:g}"),
        ("suppression", f"above an IoU of {detect['iou_threshold']:g}, class by class"),
        ("SHA-256", f"`{sha256}`"),
    ]
    listed = ", ".join(map(_text, names[:SHOWN])) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    sections = [
        _head(license_),
        f"# {file.rpartition('.')[0]}\n\nAn SSD (Liu et al., ECCV 2016) for ssd_jax: finds objects of {len(names)} "
        "classes in an image.",
        _table(("", ""), rows),
        f"## Classes\n\n{listed}",
        f"## Use\n\n{_use(file)}",
        f"## Images\n\n{_images(recipe)}",
        f"## Where it comes from\n\n{_history(published.without_folders(trained.origin), training)}",
        f"## Accuracy\n\n{_accuracy(training)}",
        f"## License\n\n{_text(license_) or NOT_STATED.capitalize() + '.'}",
    ]
    if notes:
        sections.append("## To know\n\n" + "\n".join(f"- {_text(note)}." for note in notes))
    return "\n\n".join(sections) + "\n"


def base_card(
    arrays: Mapping[str, np.ndarray],
    *,
    file: str,
    sha256: str,
    origin: Mapping[str, Any],
    normalization: Normalization | None,
    license_: str = "",
    notes: Sequence[str] = (),
) -> str:
    """Returns the card of a network's base alone.

    Args:
      arrays: what was written, by our names.
      file, sha256, license_, notes: as of :func:`card`.
      origin: where the arrays come from.
      normalization: of the images that the first convolution expects; None: not known.
    """
    numbers = sum(np.size(array) for array in arrays.values())
    recipe = next(recipe for array, recipe in RECIPES.items() if array in arrays or not array)
    images = "It is not known which images its first convolution expects."
    if normalization is not None:
        images = f"Its first convolution expects what becomes of an image, 0 to 255, by {_formula(*normalization)}."
    sections = [
        _head(license_),
        f"# {file.rpartition('.')[0]}\n\nThe base of a detector, {numbers:,} numbers, under the names of ssd_jax: "
        "what a training starts from.",
        f"## Use\n\n```\npython train.py --config=configs/{recipe} --config.init.weights={shlex.quote(file)}\n```",
        f"## Images\n\n{images} `train.py` adapts them to the images of its configuration.",
        f"## Where it comes from\n\n{_history(published.without_folders(origin), {})}",
        f"## License\n\n{_text(license_) or NOT_STATED.capitalize() + '.'}",
        f"SHA-256 of the file: `{sha256}`",
    ]
    if notes:
        sections.append("## To know\n\n" + "\n".join(f"- {_text(note)}." for note in notes))
    return "\n\n".join(sections) + "\n"


def _head(license_: str) -> str:
    lines = ["library_name: ssd_jax", "pipeline_tag: object-detection", "tags: [jax, flax, ssd, object-detection]"]
    lines += [f"license: {json.dumps(license_)}"] if license_ else []
    return "\n".join(("---", *lines, "---"))


def _use(file: str) -> str:
    return (
        "```python\nfrom ssd_jax.inference import Detector\n\n"
        f'detector = Detector.load("{file}")\n'
        'for found in detector(["street.jpg"], score_threshold=0.5):\n'
        "    print(found.id, found.names, found.scores, found.boxes)  # xyxy in pixels of the image\n```"
    )


def _images(recipe: Mapping[str, Any]) -> str:
    model = recipe["model"]
    height, width = recipe["loader"]["canvas"]
    size = " x ".join(map(str, model["image_size"]))
    return (
        f"An image larger than {height} x {width} is first reduced to fit. It is then resized to {size} (bilinear, "
        f"its aspect is not kept), and its colors, 0 to 255, go through {_formula(model['mean'], model['std'])}. "
        "`Detector` does all of it."
    )


def _formula(mean: Sequence[float], std: Sequence[float]) -> str:
    return (
        f"(value - mean) / deviation with mean {_values(mean)} and deviation {_values(std)}, in the order red, green, "
        "blue"
    )


def _values(values: Sequence[float]) -> str:
    return f"({', '.join(f'{value:.6g}' for value in values)})"


def _history(origin: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    lines = []
    data = training.get("settings", {}).get("data")
    if data:
        lines.append(
            f"Trained with ssd_jax for {training.get('step', '?')} steps on {data.get('kind', '?')} data, split "
            f"{data.get('train_split') or 'all'}"
            + (f" ({training['training_images']:,} images)." if training.get("training_images") else ".")
        )
    lines += _origin(origin)
    facts = {
        **training.get("settings", {}),
        **{key: training[key] for key in ("commit", "versions") if key in training},
    }
    if facts:
        lines.append(f"```json\n{json.dumps(facts, indent=2)}\n```")
    return "\n\n".join(lines) or "Not recorded."


def _origin(origin: Mapping[str, Any]) -> list[str]:
    before = origin.get("origin", {})
    if "file" in origin:
        kind = f"{_text(origin.get('format', '?'))}, {_text(origin.get('family', '?'))}"
        start = f"Starts from {_text(origin['file'])} ({kind}), SHA-256 {_text(origin.get('sha256', '?'))}."
        return [start, *_origin(before)]
    if "run" in origin:
        start = f"Starts from the run {_text(origin['run'])} at step {_text(origin.get('step', '?'))}."
        return [start, *_origin(before)]
    return []


def _accuracy(training: Mapping[str, Any]) -> str:
    metric = training.get("metric")
    if not metric:
        return "Not measured by whoever published it; `evaluate.py` measures it (docs/evaluation.md of ssd_jax)."
    split = training.get("settings", {}).get("data", {}).get("eval_split") or "the evaluation split"
    return f"{metric['value']:.4f} ({metric.get('name') or 'mAP'}) on {split}, measured by train.py at this step."


def _text(value: Any) -> str:
    """Returns a text of somebody else's as it is to be read: no markup, no letters that cannot be printed."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in str(value))
    return re.sub(r"([\\`*_\[\]<>|&])", r"\\\1", plain)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)
