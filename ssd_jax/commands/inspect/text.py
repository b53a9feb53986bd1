"""The findings of ``commands.inspect`` as text for a terminal, and as one JSON document."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ssd_jax import inspection
from ssd_jax.commands import cli
from ssd_jax.commands.inspect.findings import Findings, SplitFindings

NAMED = 5  # entries of a kind of problem; the page lists all


def summary(findings: Findings) -> list[str]:
    """Returns the lines to print, without the verdict."""
    lines = [f"{part.split:>5}  {_overview(part)}" for part in findings.splits]
    lines += ["", *_class_table(findings.splits)]
    for part in findings.splits:
        lines += _problems(part)
    if findings.recall is not None:
        lines += ["", *_recall(findings)]
    if findings.suggestion is not None:
        lines += ["", f"suggestion: {findings.suggestion.reason}"]
        lines += [f"  {line}" for line in findings.suggestion.config_lines()]
    lines += ["", *(f"note: {remark}" for remark in findings.remarks)] if findings.remarks else []
    return [cli.printable(line) for line in lines]


def verdict(refusals: Sequence[str]) -> str:
    """Returns the last line: whether training can start, and every reason if not."""
    return cli.printable(f"training cannot start: {'; and '.join(refusals)}") if refusals else "training can start"


def _overview(part: SplitFindings) -> str:
    counts = part.counts
    return (
        f"{counts.num_images:,} images ({part.decoded}), "
        f"{counts.num_objects:,} objects ({int(part.learned.sum()):,} learned), "
        f"{counts.num_empty:,} images without objects   {part.source.name}"
    )


def _class_table(splits: Sequence[SplitFindings]) -> list[str]:
    names = splits[0].counts.class_names if splits else ()
    if any(part.counts.class_names != names for part in splits):  # eval with classes that training does not know
        return [line for part in splits for line in _class_table([part])]
    header, columns = [], []
    for part in splits:
        for title in ("images_with", "objects", "difficult", "crowd"):
            values = getattr(part.counts, title)
            if title in ("difficult", "crowd") and not values.any():
                continue
            header.append(f"{part.split} {title.removesuffix('_with')}")
            columns.append([f"{value:,}" for value in (*values, values.sum())])
            if title == "images_with":  # an image counts once for each of its classes
                columns[-1][-1] = f"{part.counts.num_images:,}"
    return _aligned(["class", *header], zip((*names, "all"), *columns, strict=True))


def _aligned(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    table = [tuple(header), *rows]
    widths = [max(len(row[k]) for row in table) for k in range(len(header))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in table
    ]


def _problems(part: SplitFindings) -> list[str]:
    if not part.problems:
        return ["", f"problems of {part.split}: none found"]
    lines = ["", f"problems of {part.split}:"]
    for group in part.problems:
        lines.append(f"{len(group.entries):>7,}  {group.sentence}")
        lines += [f"{'':9}   {entry.name}  {entry.detail}".rstrip() for entry in group.entries[:NAMED]]
        if len(group.entries) > NAMED:
            lines.append(f"{'':9}   and {len(group.entries) - NAMED:,} more")
    return lines


def _recall(findings: Findings) -> list[str]:
    recall, network = findings.recall, findings.network
    if recall is None or network is None or not recall.num_boxes:
        return ["default boxes: no object to judge them by"]
    height, width = findings.recipe["model"]["image_size"]
    threshold = findings.recipe["match"]["iou_threshold"]
    return [
        f"default boxes: {len(network.default_boxes):,} reach {recall.share:.1%} of the {recall.num_boxes:,} objects "
        f"of {findings.splits[0].split} at IoU {threshold:g} (mean best IoU {recall.mean_iou:.2f})",
        f"  by size, pixels of the {width}x{height} input:  {_shares(recall.by_size)}",
        f"  by aspect, width : height:  {_shares(recall.by_aspect)}",
    ]


def _shares(shares: Iterable[inspection.Share]) -> str:
    return "   ".join(f"{share.label}: {share.share:.0%} of {share.count:,}" for share in shares)


def document(findings: Findings) -> dict[str, Any]:
    """Returns all numbers, and all problems, as JSON holds them (what is not a number becomes null)."""
    recall = findings.recall
    numbers = {
        "training_can_start": not findings.refusals,
        "refusals": findings.refusals,
        "remarks": findings.remarks,
        "splits": {part.split: _split_document(part) for part in findings.splits},
        "default_boxes": recall
        and {
            "share": recall.share,
            "mean_iou": recall.mean_iou,
            "num_boxes": recall.num_boxes,
            "by_size": [share._asdict() for share in recall.by_size],
            "by_aspect": [share._asdict() for share in recall.by_aspect],
        },
        "suggestion": findings.suggestion and findings.suggestion._asdict(),
    }
    return _plain(numbers)


def _split_document(part: SplitFindings) -> dict[str, Any]:
    problems = {group.kind: [entry._asdict() for entry in group.entries] for group in part.problems}
    return {
        "name": part.source.name,
        "decoded": part.files is not None,
        **part.counts._asdict(),
        "num_learned": int(part.learned.sum()),
        "num_reduced": part.num_reduced,
        "problems": problems,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
