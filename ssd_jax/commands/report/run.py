"""What the report is made of, and how it calls things."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from ssd_jax.analysis.types import Analysis, ClassAnalysis, Kind
from ssd_jax.evaluation.coco import CocoResult
from ssd_jax.evaluation.voc import VocResult
from ssd_jax.types import ImageDetections

EVERYTHING = "all classes"


class Run(NamedTuple):
    """One detector's results on the data."""

    name: str
    analysis: Analysis
    voc: VocResult
    coco: CocoResult | None  # None: not computed
    detections: Sequence[ImageDetections]
    facts: Mapping[str, str] = MappingProxyType({})  # checkpoint, step, ...: in words, as they are to be read


class Choice(NamedTuple):
    """Classes taken together or alone, of which the same is shown in turn."""

    name: str  # in menus
    title: str
    findings: tuple[ClassAnalysis, ...]  # one a run


# What each kind of detection is called in tables and charts (in the paper's Figure 3: Cor, Loc, Sim, Oth, BG), and what
# it means.
KINDS = {
    Kind.CORRECT: ("correct", "on an object of its class, with an IoU above 0.5"),
    Kind.LOCALIZATION: ("localization", "of the right class, but misplaced (IoU 0.1 to 0.5), or a second one"),
    Kind.SIMILAR: ("similar class", "on an object of a class of the same group"),
    Kind.OTHER: ("other class", "on an object of any other class"),
    Kind.BACKGROUND: ("background", "on nothing that is annotated"),
    Kind.IGNORED: ("not counted", "on an object that does not count (difficult, crowd): neither right nor wrong"),
}


def figure(value: float, digits: int = 3) -> str:
    """Returns an AP, or another figure between 0 and 1, in words; "-" where it is not defined."""
    return f"{value:.{digits}f}" if value == value else "-"


def difference(value: float, reference: float) -> str:
    """Returns by how much a figure is above (+) or below another."""
    change = value - reference
    return f"{change:+.3f}" if change == change else "-"


def plural(count: int, singular: str, many: str | None = None) -> str:
    """Returns a count with its noun."""
    return f"{count:,} {singular if count == 1 else many or singular + 's'}"


def choices(runs: Sequence[Run], num_classes: int) -> list[Choice]:
    """Returns all classes together, each group of several, and at most ``num_classes`` of the classes.

    If there are more, those with the most objects; in the order of their labels.
    """
    main = runs[0].analysis
    found = [Choice(EVERYTHING, EVERYTHING, tuple(run.analysis.overall for run in runs))]
    for place, group in enumerate(main.group_findings):
        if 1 < len(group.labels) < len(main.classes):
            found.append(
                Choice(f"{group.name} (group)", group.name, tuple(run.analysis.group_findings[place] for run in runs))
            )
    for place in _charted(main, num_classes):
        name = main.classes[place].name
        found.append(Choice(name, name, tuple(run.analysis.classes[place] for run in runs)))
    return [pick._replace(name=name) for pick, name in zip(found, distinct([pick.name for pick in found]), strict=True)]


def _charted(analysis: Analysis, num_classes: int) -> list[int]:
    """Returns the places of classes with anything to show, those with the most objects, in their order."""
    filled = [place for place, one in enumerate(analysis.classes) if one.num_objects or one.num_detections]
    return sorted(sorted(filled, key=lambda place: -analysis.classes[place].num_objects)[:num_classes])


def distinct(names: Sequence[str]) -> list[str]:
    """Returns names by which a menu can tell things apart: a name that occurs again is numbered."""
    unique: dict[str, None] = {}
    for name in names:
        numbered, count = name, 2
        while numbered in unique:
            numbered, count = f"{name} ({count})", count + 1
        unique[numbered] = None
    return list(unique)
