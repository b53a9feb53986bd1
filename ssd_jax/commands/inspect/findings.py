"""What ``commands.inspect`` finds out about each split as training would read it."""

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tqdm

from ssd_jax import data, inspection
from ssd_jax import recipe as recipes
from ssd_jax.commands import setup
from ssd_jax.commands.inspect.rehearsal import rehearse
from ssd_jax.data.problems import PROBLEM_KINDS, Problem

SPLITS = ("train", "eval")

# What a kind of problem costs; any other was repaired, or is worth a look only.
LOSES_IMAGES = frozenset(
    ("missing_annotation", "missing_image", "bad_annotation", "bad_image", "wrong_size", "undecodable")
)
LOSES_OBJECTS = frozenset(("bad_line", "no_box", "unknown_class", "not_finite", "zero_size", "outside"))


class ProblemGroup(NamedTuple):
    """All problems of one kind."""

    kind: str
    sentence: str  # what was found and what was done, to follow the count
    entries: tuple[Problem, ...]

    @property
    def cost(self) -> str:
        """Returns "image", "object" or "" for what each of them loses."""
        return "image" if self.kind in LOSES_IMAGES else "object" if self.kind in LOSES_OBJECTS else ""


class SplitFindings(NamedTuple):
    """One split, read through."""

    split: str  # "train" or "eval"
    source: Any
    annotations: inspection.Annotations
    counts: inspection.Counts
    learned: np.ndarray  # [G] bool: objects that the recipe trains on
    files: inspection.FileReport | None  # None: the images were not decoded
    problems: tuple[ProblemGroup, ...]
    num_reduced: int  # images larger than the loader's canvas
    num_cut: int  # images with more objects than config.loader.max_boxes

    @property
    def decoded(self) -> str:
        """Returns in words how many images could be decoded."""
        if self.files is None:
            return "not decoded"
        bad = len(self.files.of("undecodable"))
        return f"{bad:,} cannot be decoded" if bad else "all decoded"


class Findings(NamedTuple):
    """Everything that the report shows."""

    recipe: recipes.Recipe
    splits: tuple[SplitFindings, ...]
    refusals: tuple[str, ...]  # why training cannot start, a sentence each; (): it can
    remarks: tuple[str, ...]  # what a person should know, though training can start
    network: setup.Network | None  # None: the recipe's network cannot be built
    step_holds: bool  # whether augmentation and matching can be run
    recall: inspection.PriorRecall | None  # of the first split that was read
    suggestion: inspection.Suggestion | None

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Returns the network's (height, width); None if there is no network: then the setting may be anything."""
        return None if self.network is None else self.recipe["model"]["image_size"]


def gather(recipe: recipes.Recipe, *, wanted: Sequence[str] = SPLITS, decode: bool = True) -> Findings:
    """Reads the data of a recipe through, and tries everything that train.py does before its first step.

    Args:
      recipe: to be checked.
      wanted: splits to be read through. All are opened, since training needs them all.
      decode: whether each image is decoded; otherwise only headers have been read.

    Raises:
      InputError: there is nothing to look at: no data is given, or no split can be opened.
    """
    rehearsal = rehearse(recipe)
    recipe, network, refusals = rehearsal.recipe, rehearsal.network, list(rehearsal.refusals)
    sources = {split: rehearsal.sources[split] for split in wanted}
    splits = tuple(_read(recipe, split, source, decode) for split, source in sources.items() if source is not None)
    for part in splits:
        if part.files is not None and not any(part.files.digests):
            refusals.append(f"config.data.{part.split}_split: none of its {len(part.files.ids)} images can be decoded")
    recall = suggestion = None
    if network is not None and splits:
        boxes = splits[0].annotations.boxes[splits[0].learned]
        recall = inspection.prior_recall(
            boxes,
            network.default_boxes,
            image_size=recipe["model"]["image_size"],
            iou_threshold=recipe["match"]["iou_threshold"],
        )
        suggestion = inspection.suggest(boxes, recipe)
    remarks = tuple(_remarks(splits))
    return Findings(recipe, splits, tuple(refusals), remarks, network, rehearsal.step_holds, recall, suggestion)


def _read(recipe: recipes.Recipe, split: str, source: Any, decode: bool) -> SplitFindings:
    with _bar(f"reading {split}", len(source)) as progress:
        annotations = inspection.collect(source, progress)
    files = None
    if decode:
        with _bar(f"decoding {split}", len(source)) as progress:
            threads = max(1, recipe["loader"]["num_threads"])
            canvas = recipe["loader"]["canvas"]
            files = inspection.check_files(source, limit_canvas=canvas, num_threads=threads, progress=progress)
    policy = {key: recipe["loader"][key] for key in ("difficult", "crowd")}
    return SplitFindings(
        split,
        source,
        annotations,
        inspection.count(annotations),
        annotations.learned(**policy),
        files,
        tuple(_groups(source.problems, files)),
        int((annotations.sizes > recipe["loader"]["canvas"]).any(axis=1).sum()),
        _count_cut(annotations, recipe["loader"]["max_boxes"] if split == "train" else 0),
    )


def _count_cut(annotations: inspection.Annotations, max_boxes: int) -> int:
    return int((np.bincount(annotations.image) > max_boxes).sum()) if max_boxes else 0


@contextlib.contextmanager
def _bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows a progress bar on a terminal; yields what is to be told how many are done."""
    hidden = not sys.stderr.isatty()
    with tqdm.tqdm(total=total, desc=label, unit="image", disable=hidden, dynamic_ncols=True, leave=False) as bar:

        def show(done: int) -> None:
            bar.update(done - bar.n)

        yield show


def _groups(problems: data.Problems, files: inspection.FileReport | None) -> Iterator[ProblemGroup]:
    for kind in problems.counts:
        yield ProblemGroup(kind, PROBLEM_KINDS[kind], tuple(problems.entries[kind]))
    if files is None:
        return
    for kind in files.counts:
        entries = tuple(Problem(problem.id, problem.detail) for problem in files.of(kind))
        yield ProblemGroup(kind, inspection.FILE_KINDS[kind], entries)


def _remarks(splits: Sequence[SplitFindings]) -> Iterator[str]:
    for part in splits:
        lost = sum(len(group.entries) for group in part.problems if group.cost == "image")
        if lost:
            yield f"{part.split}: {lost:,} images cannot be used"
        objects = sum(len(group.entries) for group in part.problems if group.cost == "object")
        if objects:
            yield f"{part.split}: {objects:,} objects are left out"
        if part.num_reduced:
            yield f"{part.split}: {part.num_reduced:,} of {len(part.source):,} images are reduced to fit the canvas"
        if part.num_cut:
            yield f"{part.split}: {part.num_cut:,} images have more than config.loader.max_boxes objects and are cut"
        by_case = Counter(name.casefold() for name in part.counts.class_names)
        alike = [name for name in part.counts.class_names if by_case[name.casefold()] > 1]
        if alike:
            yield f"{part.split}: classes that differ in case only: {_listed(alike)}"
        absent = [name for name, count in zip(part.counts.class_names, part.counts.objects, strict=True) if not count]
        if absent:
            yield f"{part.split}: no object of {_listed(absent)}"
    by_split = {part.split: part.files for part in splits}
    train, evaluation = by_split.get("train"), by_split.get("eval")
    if train is not None and evaluation is not None:
        pairs = inspection.shared_content(train, evaluation)
        if pairs:
            example = f"{pairs[0][0]} and {pairs[0][1]}"
            yield f"{len(pairs):,} images of eval have the same pixels as one of train ({example}): scores will flatter"


def _listed(names: Sequence[str], limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
