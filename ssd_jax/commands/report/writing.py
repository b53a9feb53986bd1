"""Puts the page together, within its limit of bytes."""

from collections.abc import Sequence
from os import PathLike

from ssd_jax import files
from ssd_jax import page as pages
from ssd_jax.commands.report import classes, confusion, curves, errors, galleries, scenes, sensitivity, summary
from ssd_jax.commands.report.galleries import Album, Pictures
from ssd_jax.commands.report.run import Run, choices, distinct, plural
from ssd_jax.page import Section
from ssd_jax.types import ImageGroundTruth

COMPARED = 8  # runs in charts and tables: as many as there are colors
_CHARTED = (80, 40, 20, 8, 0)  # classes with charts of their own, tried in turn
_CHARTS_SHARE = 0.6  # of the bytes that numbers and charts may take while there are charts left to leave out
_PAGE_BYTES = 2_000  # of the page's end and the headings of galleries that are not yet there


def write(
    path: str | PathLike[str],
    runs: Sequence[Run],
    ground_truth: Sequence[ImageGroundTruth],
    *,
    class_names: Sequence[str],
    pictures: Pictures,
    title: str,
    max_bytes: int = 20_000_000,
) -> int:
    """Writes the report of one detector, or of several on the same data, as one HTML file.

    The same input gives the same bytes. What has no room is left out in a fixed order: of the classes with few objects
    the charts, until numbers and charts take no more than 60% of the room; pictures, first coarser, then fewer, get
    what remains. The page says what is not shown.

    Args:
      path: of the file.
      runs: the first is explained, further ones are compared with it.
      ground_truth: of all images, in the order of the analyses.
      class_names: every class by label, background first.
      pictures: returns the image of an id as uint8 [h, w, 3] RGB in the frame in which its boxes are stated, or None.
      title: of the page.
      max_bytes: of the file.

    Returns:
      The length of the file in bytes.

    Raises:
      ValueError: there is no run, a run is of other classes or images, or the numbers alone are longer than max_bytes.
      InputError: the file cannot be written.
    """
    _check(runs, ground_truth, class_names)
    num_runs = len(runs)
    names = distinct([run.name for run in runs[:COMPARED]])  # menus tell runs apart by them
    runs = [run._replace(name=name) for run, name in zip(runs, names, strict=False)]
    sections = _numbers(runs, max_bytes)
    ids = [truth.id for truth in ground_truth]
    atlases = [scenes.make_atlas(run.analysis, ids) for run in runs[:2]]
    room = max_bytes - len(_page(title, runs, num_runs, sections, []).encode()) - _PAGE_BYTES
    albums = galleries.fill(galleries.plan(atlases, names), pictures, max_bytes=room)
    data = _page(title, runs, num_runs, sections, albums).encode()
    while len(data) > max_bytes and any(album.thumbs for album in albums):
        albums = galleries.shorten(albums, 0.75)
        data = _page(title, runs, num_runs, sections, albums).encode()
    if len(data) > max_bytes:
        raise ValueError(f"max_bytes: the page without charts and pictures has {len(data)} bytes, got {max_bytes}")
    files.write_bytes(path, data)
    return len(data)


def _check(runs: Sequence[Run], ground_truth: Sequence[ImageGroundTruth], class_names: Sequence[str]) -> None:
    if not runs:
        raise ValueError("runs: expected at least one, got none")
    for run in runs:
        if tuple(run.analysis.class_names) != tuple(class_names):
            raise ValueError(
                f"runs: expected all of the classes {list(class_names)}, got {list(run.analysis.class_names)} "
                f"in {run.name!r}"
            )
        if run.analysis.num_images != len(ground_truth):
            raise ValueError(
                f"runs: expected all of the {len(ground_truth)} images of the ground truth, got "
                f"{run.analysis.num_images} in {run.name!r}"
            )


def _numbers(runs: Sequence[Run], max_bytes: int) -> list[Section]:
    """Returns everything but the pictures, with as many charts as there is room for."""
    sections: list[Section] = []
    for count in _CHARTED:
        sections = _sections(runs, count)
        if sum(len(part.body.encode()) for part in sections) <= _CHARTS_SHARE * max_bytes:
            break
    return sections


def _sections(runs: Sequence[Run], num_charted: int) -> list[Section]:
    picks = choices(runs, num_charted)
    total = len(runs[0].analysis.classes)
    left_out = None
    if total > num_charted:
        which = f"of the {num_charted:,} classes with the most objects" if num_charted else "of no single class"
        left_out = pages.text(
            f"Charts are shown {which}, of {total:,}; the tables have all, and so has metrics.json.", faint=True
        )
    return [
        summary.overview(runs),
        classes.per_class(runs),
        errors.gains(runs),
        errors.kinds(runs),
        errors.course(runs, picks, left_out),
        curves.precision_recall(runs, picks, left_out),
        sensitivity.sensitivity(runs, picks, left_out),
        confusion.confusions(runs),
        curves.calibration(runs, picks, left_out),
    ]


def _page(title: str, runs: Sequence[Run], num_runs: int, sections: Sequence[Section], albums: Sequence[Album]) -> str:
    pictures = galleries.section(albums, title="Pictures" if len(runs) == 1 else f"Pictures of {runs[0].name}")
    main = runs[0].analysis
    subtitle = f"{plural(main.num_images, 'image')}, {plural(main.overall.num_objects, 'object')}."
    if num_runs > len(runs):
        subtitle += f" The first {len(runs)} of {num_runs} runs are compared."
    return pages.page(
        title,
        [*sections, pictures],
        subtitle=subtitle,
        lead=summary.lead(runs),
        footer="Made by python evaluate.py --report. All numbers stand in metrics.json beside this page.",
    )
