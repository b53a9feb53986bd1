"""The findings of ``commands.inspect`` as a page to look at."""

from ssd_jax import page as pages
from ssd_jax.commands.inspect import boxes
from ssd_jax.commands.inspect.findings import Findings, ProblemGroup, SplitFindings
from ssd_jax.commands.inspect.pictures import DRAWS, Picture, Pictures
from ssd_jax.page import Column, Markup, Mood, Section
from ssd_jax.visualize import class_color

LISTED = 5_000  # entries of a kind of problem; inspection.json has all
UNFOLDED = 8  # problems of a split up to which their lists are open from the start
COSTS: dict[str, tuple[Mood, str]] = {
    "image": ("bad", "image lost"),
    "object": ("warning", "object lost"),
    "": ("good", "still used"),
}


def write_page(findings: Findings, pictures: Pictures, *, title: str) -> str:
    """Returns the page as an HTML document."""
    sections = [_data(findings), _classes(findings), *(_problems(part) for part in findings.splits)]
    sections += [section for section in (boxes.shapes(findings), boxes.default_boxes(findings)) if section is not None]
    if pictures.samples is not None:
        sections.append(_samples(pictures.samples, findings.splits[0].split))
    if pictures.priors is not None:
        sections.append(_assignments(pictures.priors))
    return pages.page(
        title,
        sections,
        subtitle="What training would read, decoded and counted before it starts.",
        lead=_verdict(findings),
        footer="Made by python -m ssd_jax.commands.inspect. All numbers and every problem stand in inspection.json.",
    )


def _verdict(findings: Findings) -> Markup:
    remarks = pages.bullets(findings.remarks) if findings.remarks else None
    if findings.refusals:
        reasons = pages.bullets(findings.refusals)
        notes = pages.callout("warning", "Worth knowing", remarks) if remarks else None
        return pages.join(pages.callout("bad", "Training cannot start", reasons), notes)
    if remarks:
        return pages.callout("warning", "Training can start; this is worth knowing", remarks)
    return pages.callout("good", "Training can start. Nothing wrong was found.")


def _data(findings: Findings) -> Section:
    height, width = findings.recipe["loader"]["canvas"]
    parts = [_facts(part) for part in findings.splits]
    line = f"Images are laid on a canvas of {width}x{height} pixels (a larger one is reduced to fit)"
    if findings.input_size is not None:
        height, width = findings.input_size
        line += f" and warped to the network's input of {width}x{height}"
    return pages.section("The data", parts, pages.text(f"{line}.", faint=True))


def _facts(part: SplitFindings) -> Markup:
    counts = part.counts
    smallest, median, largest = (f"{w}x{h}" for h, w in counts.sizes)
    tiles = [
        ("images", f"{counts.num_images:,}", part.decoded),
        ("objects", f"{counts.num_objects:,}", f"{int(part.learned.sum()):,} to be learned"),
        ("objects an image", f"{counts.num_objects / max(counts.num_images, 1):.1f}", f"most: {part.source.max_boxes}"),
        ("images without objects", f"{counts.num_empty:,}"),
        ("classes", f"{len(counts.class_names):,}"),
        ("median image size", median, f"{smallest} to {largest}"),
    ]
    return pages.subsection(f"{part.split}: {part.source.name}", pages.facts(tiles))


def _classes(findings: Findings) -> Section:
    return pages.section("Classes", pages.side_by_side(*(_class_table(part) for part in findings.splits)))


def _class_table(part: SplitFindings) -> Markup:
    counts = part.counts
    most = int(counts.objects.max(initial=0))
    columns = [Column("class"), Column("objects", bar=True), Column("images", number=True)]
    extra = [name for name in ("difficult", "crowd") if getattr(counts, name).any()]
    columns += [Column(name, number=True) for name in extra]
    rows = []
    for place, name in enumerate(counts.class_names):
        objects = int(counts.objects[place])
        cells = [f"{getattr(counts, key)[place]:,}" for key in ("images_with", *extra)]
        mood: Mood = "note" if objects else "bad"
        heading = pages.with_swatch(class_color(place + 1), name)
        rows.append([heading, pages.bar(objects, most, f"{objects:,}", mood=mood), *cells])
    totals = [f"{counts.num_images:,}", *(f"{getattr(counts, key).sum():,}" for key in extra)]
    footer = ["all", f"{counts.num_objects:,}", *totals]
    return pages.table(columns, rows, caption=f"Objects of {part.split}, by class", footer=footer)


def _problems(part: SplitFindings) -> Section:
    title = f"Problems of {part.split}"
    if not part.problems:
        return pages.section(title, pages.text("None were found."))
    checked = "" if part.files is not None else " Images were not decoded (--fast), so damage inside them is not seen."
    intro = pages.text(
        "Each kind of problem was dealt with as said; nothing on disk was changed. A line unfolds to the full list."
        + checked
    )
    few = sum(len(group.entries) for group in part.problems) <= UNFOLDED
    return pages.section(title, intro, [_problem_group(group, few) for group in part.problems])


def _problem_group(group: ProblemGroup, unfolded: bool) -> Markup:
    shown = [(entry.name, entry.detail) for entry in group.entries[:LISTED]]
    listing = pages.table(
        [Column("image or file"), Column("what exactly")],
        shown,
        caption=group.sentence,
        remark=f"The first {LISTED:,}; inspection.json has all." if len(group.entries) > LISTED else "",
        hide_caption=True,
    )
    count = pages.element("b", f"{len(group.entries):,}")
    return pages.details([pages.tag(*COSTS[group.cost]), count, f" \u00d7 {group.sentence}"], listing, open_=unfolded)


def _samples(picture: Picture, split: str) -> Section:
    return pages.section(
        "What the network sees",
        pages.text(
            f"Left: {picture.count} images of {split} as they are loaded. Beside each, the same image as the training "
            f"step gets it in its first {DRAWS} epochs, colors, crops and boxes included."
        ),
        _figure(
            picture,
            f"{picture.count} images with their boxes, each beside {DRAWS} augmented versions of it",
            " Dashed boxes are not learned (difficult, crowd).",
        ),
    )


def _assignments(picture: Picture) -> Section:
    return pages.section(
        "Which default boxes each object takes",
        pages.text(
            "First the image as the network sees it, with its ground truth; then one picture a feature map. "
            "Dashed: the default boxes that learn an object there (Figure 1 of the paper)."
        ),
        _figure(picture, f"Default boxes matched to the objects of {picture.count} images, feature map by feature map"),
    )


def _figure(picture: Picture, alt: str, remark: str = "") -> Markup:
    caption = f"Also in {picture.path.name}.{remark}"
    return pages.figure(picture.jpeg, size=picture.size, alt=alt, caption=caption, least_width=900)
