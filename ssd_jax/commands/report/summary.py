"""The first part of the report: the figures, and what costs most."""

from collections.abc import Sequence

import numpy as np

from ssd_jax import page as pages
from ssd_jax.analysis.types import FALSE, Analysis, Kind
from ssd_jax.commands.report.run import KINDS, Run, difference, figure, plural
from ssd_jax.page import Column, Markup, Section

_LITTLE = 0.0005  # gain in AP that rounds to nothing
# Remedy -> what is lost to, what would be done about it. "false positives" is left out: it holds the others.
_LOSSES = {
    "localization": ("misplaced boxes", "putting them right (and removing second detections of an object)"),
    "similar": ("confusion with similar classes", "removing these detections"),
    "other": ("confusion with other classes", "removing these detections"),
    "background": ("detections where nothing is annotated", "removing them"),
    "missed": ("objects that no detection hits", "leaving these objects out"),
}


def verdict(analysis: Analysis) -> list[str]:
    """Returns what a person should know first, a sentence each."""
    overall = analysis.overall
    if overall.num_detections == 0:
        return [f"Nothing was detected in {plural(analysis.num_images, 'image')}, so every AP is 0."]
    if overall.counts[Kind.CORRECT] == 0:
        most = max(FALSE, key=lambda kind: overall.counts[kind])
        count, kind = overall.counts[most], KINDS[most][0]
        return [
            f"None of {plural(overall.num_detections, 'detection')} hits an object, so every AP is 0: {count:,} are of "
            f"the kind \u201c{kind}\u201d, and {plural(len(analysis.missed), 'object')} are missed."
        ]
    gains = {name: overall.gains.get(name, np.nan) for name in _LOSSES}
    ranked = sorted((name for name in gains if gains[name] >= _LITTLE), key=lambda name: -gains[name])
    if not ranked:
        return ["No kind of error costs anything that could be seen in the area mAP."]
    (lost, remedy), gain = _LOSSES[ranked[0]], gains[ranked[0]]
    of = f"the area mAP of {figure(overall.ap_area)}"
    sentences = [f"Most is lost to {lost}: {remedy} would add {figure(gain)} to {of}."]
    if len(ranked) > 1:
        (lost, remedy), gain = _LOSSES[ranked[1]], gains[ranked[1]]
        sentences.append(f"Next comes what is lost to {lost}: {remedy} would add {figure(gain)}.")
    return sentences


def lead(runs: Sequence[Run]) -> Markup:
    """Returns the box above all sections."""
    sentences = verdict(runs[0].analysis)
    sentences += _never_found(runs[0].analysis) + _weakest(runs[0].analysis)
    sentences += [_compared(run, runs[0]) for run in runs[1:4]]
    title = "What costs most" if len(runs) == 1 else f"What costs {runs[0].name} most"
    return pages.callout("note", title, pages.bullets(sentences))


def _never_found(analysis: Analysis) -> list[str]:
    """Says it of classes whose gains are not defined, so that none of the above is about them."""
    never = [one for one in analysis.classes if one.num_objects and not one.counts[Kind.CORRECT]]
    if not never or not analysis.overall.counts[Kind.CORRECT]:
        return []
    lost = sum(one.num_objects for one in never)
    return [f"Of {plural(len(never), 'class', 'classes')} no object is found at all ({plural(lost, 'object')})."]


def _weakest(analysis: Analysis) -> list[str]:
    defined = [findings for findings in analysis.classes if np.isfinite(findings.ap_area)]
    if len(defined) < 4:
        return []
    weakest = sorted(defined, key=lambda findings: findings.ap_area)[:3]
    return [f"Lowest AP (area): {', '.join(f'{one.name} ({figure(one.ap_area)})' for one in weakest)}."]


def _compared(run: Run, main: Run) -> str:
    change = run.voc.ap_area - main.voc.ap_area
    better, worse = int(np.sum(change > _LITTLE)), int(np.sum(change < -_LITTLE))
    return (
        f"{run.name} against {main.name}: {difference(run.voc.map_area, main.voc.map_area)} in area mAP, better in "
        f"{plural(better, 'class', 'classes')}, worse in {worse:,}."
    )


def overview(runs: Sequence[Run]) -> Section:
    """Returns the figures by their names, of one run as tiles, of several as a table."""
    main = runs[0]
    parts = [_tiles(main)]
    if len(runs) > 1:
        parts.append(_runs_table(runs))
    parts.append(
        pages.text(
            "VOC07 11-point and area are averages of the same curve at an IoU above 0.5, the rules of VOC2007 and of "
            "VOC2010 and later; COCO's AP is the mean over IoU 0.50 to 0.95. Never compare one with another.",
            faint=True,
        )
    )
    parts += [_facts(run) for run in runs if run.facts]
    return pages.section("Summary", parts)


def _tiles(run: Run) -> Markup:
    overall = run.analysis.overall
    tiles: list[tuple[str, str] | tuple[str, str, str]] = [
        ("VOC07 11-point mAP", figure(run.voc.map_11point, 4)),
        ("area mAP", figure(run.voc.map_area, 4), "VOC2010 and later"),
    ]
    if run.coco is not None:
        tiles.append(("COCO AP", figure(run.coco.ap, 4), "IoU 0.50 to 0.95"))
        tiles += [("COCO AP50", figure(run.coco.ap50, 4)), ("COCO AP75", figure(run.coco.ap75, 4))]
    tiles += [
        ("images", f"{run.analysis.num_images:,}"),
        ("objects", f"{overall.num_objects:,}", f"besides {overall.num_difficult:,} difficult ones or crowds"),
        ("detections", f"{overall.num_detections:,}", f"{len(run.analysis.missed):,} objects missed by all"),
        ("classes", f"{len(run.analysis.classes):,}"),
    ]
    return pages.facts(tiles)


def _runs_table(runs: Sequence[Run]) -> Markup:
    titles = ["VOC07 11-point mAP", "area mAP", "difference"]
    with_coco = any(run.coco is not None for run in runs)
    titles += ["COCO AP", "AP50", "AP75"] if with_coco else []
    titles += ["detections", "objects missed"]
    rows = []
    for style, run in enumerate(runs):
        cells = [figure(run.voc.map_11point, 4), figure(run.voc.map_area, 4)]
        cells.append(difference(run.voc.map_area, runs[0].voc.map_area) if style else "")
        if with_coco:
            three = (np.nan,) * 3 if run.coco is None else (run.coco.ap, run.coco.ap50, run.coco.ap75)
            cells += [figure(value, 4) for value in three]
        cells += [f"{run.analysis.overall.num_detections:,}", f"{len(run.analysis.missed):,}"]
        rows.append([pages.key(style, run.name), *cells])
    columns = [Column("run"), *(Column(title, number=True) for title in titles)]
    return pages.table(
        columns, rows, caption="Runs side by side", remark=f"Differences are to the first, {runs[0].name}."
    )


def _facts(run: Run) -> Markup:
    rows = list(run.facts.items())
    listing = pages.table([Column("what"), Column("value")], rows, caption=f"About {run.name}", hide_caption=True)
    return pages.details(f"About {run.name}", listing)
