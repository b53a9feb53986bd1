"""What objects are taken for: the matrix where it can be read, the most frequent confusions, and both by class."""

from collections.abc import Sequence

import numpy as np

from ssd_jax import page as pages
from ssd_jax.analysis.types import Analysis, Confusion
from ssd_jax.commands.report.run import Run, figure
from ssd_jax.page import Column, Markup, Section

LARGEST = 25  # classes of a matrix that can be read
_FREQUENT = 20  # confusions listed
_STRONGEST = 45  # percent of color in a cell: text on it keeps a contrast of 4.5, light and dark


def confusions(runs: Sequence[Run]) -> Section:
    """Returns which classes are confused, and with which."""
    intro = pages.text(
        "Here a detection takes the object that it overlaps most (IoU above 0.5), of whatever class; best score first."
        + _threshold_in_words(runs)
    )
    panels = [(run.name, _of(run.analysis)) for run in runs]
    body = panels[0][1] if len(runs) == 1 else pages.choice("Of each run", panels, label="Run", group="run")
    return pages.section("Confusions", intro, body)


def _threshold_in_words(runs: Sequence[Run]) -> str:
    threshold = runs[0].analysis.confusion.threshold
    if not np.isfinite(threshold):
        return ""
    each = f" ({runs[0].name}; each run has its own threshold)" if len(runs) > 1 else ""
    return f" Only detections with a score of at least {figure(threshold)} take part{each}."


def _of(analysis: Analysis) -> list[Markup]:
    names, found = analysis.class_names, analysis.confusion
    parts = []
    if len(names) - 1 <= LARGEST:
        parts.append(_matrix(names, found))
    else:
        parts.append(
            pages.text(f"A matrix of {len(names) - 1:,} classes could not be read; its numbers follow as tables.")
        )
    parts += [_frequent(names, found), _by_class(names, found)]
    return parts


def _matrix(names: Sequence[str], found: Confusion) -> Markup:
    """Returns the matrix as a table whose cells are colored by their share of the row."""
    titles = ["nothing", *names[1:]]
    header = [pages.element("th", "annotated \u2193 detected \u2192", scope="col")]
    for title in titles:
        upright = pages.element("span", title, style="writing-mode:vertical-rl;max-height:9rem;overflow-wrap:anywhere")
        header.append(pages.element("th", upright, scope="col", class_="number", style="padding:.3rem .2rem"))
    sums = found.counts.sum(axis=1)
    rows = []
    for row in [*range(1, len(titles)), 0]:
        cells = [_cell(found.counts[row, column], sums[row], row == column) for column in range(len(titles))]
        rows.append(pages.element("tr", pages.element("th", titles[row], scope="row"), cells))
    words = pages.text(
        "A row holds the objects of a class: below \u201cnothing\u201d those that were missed, then those detected as "
        "each class. The last row: detections on nothing. The darker a cell, the larger its share of the row."
    )
    table = pages.element(
        "table",
        pages.element("caption", "Confusion matrix"),
        pages.element("thead", pages.element("tr", header)),
        pages.element("tbody", rows),
        style="width:auto",
    )
    label = "Confusion matrix as a table"
    return pages.join(words, pages.element("div", table, class_="scroll", tabindex=0, role="region", aria_label=label))


def _cell(count: int, total: int, is_right: bool) -> Markup:
    share = count / max(total, 1)
    color = "--curve0" if is_right else "--curve1"
    style = "padding:.3rem .4rem"
    if count:
        strength = 4 + (_STRONGEST - 4) * np.sqrt(share)  # by the root, few beside many can be seen
        style += f";background:color-mix(in srgb,var({color}) {strength:.0f}%,transparent)"
    return pages.element("td", f"{count:,}" if count else "", class_="number", style=style)


def _frequent(names: Sequence[str], found: Confusion) -> Markup:
    mixed = found.counts.copy()
    np.fill_diagonal(mixed, 0)
    mixed[0], mixed[:, 0] = 0, 0
    objects = found.counts.sum(axis=1)
    pairs = np.argwhere(mixed > 0)
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -mixed[pairs[:, 0], pairs[:, 1]]))
    rows = [
        (names[true], names[taken], f"{mixed[true, taken]:,}", f"{mixed[true, taken] / objects[true]:.1%}")
        for true, taken in pairs[order[:_FREQUENT]].tolist()
    ]
    if not rows:
        return pages.text("No object was taken for one of another class.")
    columns = [Column("annotated"), Column("detected as"), Column("objects", number=True), Column("share", number=True)]
    return pages.table(
        columns,
        rows,
        caption="Most frequent confusions",
        remark=f"{len(rows):,} of {len(pairs):,} pairs. Share: of the objects of the class.",
        sortable=True,
    )


def _by_class(names: Sequence[str], found: Confusion) -> Markup:
    titles = ("objects", "detected right", "missed", "taken for another class", "detections on nothing")
    columns = [Column("class"), *(Column(title, number=True) for title in titles), Column("most often taken for")]
    rows = []
    for label in range(1, len(names)):
        total, right, lost = (int(x) for x in (found.counts[label].sum(), *found.counts[label, [label, 0]]))
        others = found.counts[label].copy()
        others[[0, label]] = 0
        most = names[int(others.argmax())] if others.any() else "-"
        counts = (total, right, lost, total - right - lost, int(found.counts[0, label]))
        rows.append((names[label], *(f"{count:,}" for count in counts), most))
    listing = pages.table(
        columns, rows, caption="Objects by what they are taken for", hide_caption=True, sortable=True, searchable=True
    )
    return pages.details("The same in numbers, by class", listing)
