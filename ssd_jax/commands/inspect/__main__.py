"""Looks at the data of a recipe as training will read it, and says whether training can start.

python -m ssd_jax.commands.inspect --config=configs/ssd300_custom.py --config.data.root=DIR [--output=DIR]

Writes inspection.html (the page to look at), inspection.json (all numbers and every problem) and the
pictures as PNG files. Exit status 0: training can start, whatever was repaired or left out is listed;
2: it cannot, and the last line says why.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from ssd_jax.commands import cli

FLAGS = flags.FLAGS
OUTPUTS = ("inspection.html", "inspection.json", "samples.png", "default_boxes.png")


def define_flags(argv: Sequence[str]) -> None:
    """Defines the options; not at import, so that other programs with a --config may import this module."""
    config_flags.DEFINE_config_file("config", None, "Recipe, a file of configs/.", sys_argv=list(argv))
    flags.DEFINE_string("output", None, "Folder for the report; default: runs/inspection/RECIPE-DATA.")
    flags.DEFINE_enum("split", "both", ["train", "eval", "both"], "Which images are looked at.")
    flags.DEFINE_integer("num_samples", 12, "Augmented images shown; 0 = none.", lower_bound=0, upper_bound=48)
    flags.DEFINE_bool("priors", False, "Draw, level by level, which default boxes each object takes (Figure 1).")
    flags.DEFINE_integer("num_priors", 4, "Images drawn by --priors.", lower_bound=1, upper_bound=24)
    flags.DEFINE_bool("fast", False, "Read annotations and headers only: no image is decoded to be checked.")
    flags.mark_flag_as_required("config")


def main(_) -> int:
    """Runs the command line; returns the exit status."""
    # Imported here, so that a wrong option is answered at once.
    from ssd_jax import files
    from ssd_jax import recipe as recipes
    from ssd_jax.commands import setup
    from ssd_jax.commands.inspect import pictures, report, text
    from ssd_jax.commands.inspect.findings import SPLITS, gather
    from ssd_jax.errors import InputError

    if FLAGS["num_priors"].present and not FLAGS.priors:
        raise InputError("--num_priors needs --priors")
    recipe = recipes.plain(FLAGS.config)
    name = recipe_name(FLAGS["config"].config_filename)  # pyright: ignore[reportAttributeAccessIssue]
    output = setup.open_workdir(FLAGS.output or f"runs/inspection/{default_name(name, recipe)}", option="--output")
    remove_earlier(output)
    wanted = SPLITS if FLAGS.split == "both" else (FLAGS.split,)
    try:
        findings = gather(recipe, wanted=wanted, decode=not FLAGS.fast)
    except InputError as error:
        raise InputError(f"training cannot start: {error}") from error

    drawn = pictures.draw(
        findings, output, num_samples=FLAGS.num_samples, num_priors=FLAGS.num_priors if FLAGS.priors else 0
    )
    page = report.write_page(findings, drawn, title=f"Inspection of {default_name(name, recipe)}")
    files.write_text(output / "inspection.html", page)
    numbers = {"recipe": name, **text.document(findings)}
    files.write_text(output / "inspection.json", json.dumps(numbers, indent=1) + "\n")

    print("\n".join(text.summary(findings)))
    print(f"\npage: {cli.printable(str(output / 'inspection.html'))}")
    print(text.verdict(findings.refusals))
    return cli.INPUT_ERROR if findings.refusals else 0


def remove_earlier(output: Path) -> None:
    """Deletes the files of an earlier inspection, so that one that is refused leaves no verdict that is not its own."""
    from ssd_jax.errors import InputError

    for name in OUTPUTS:
        try:
            (output / name).unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"--output: {output / name} of an earlier inspection stays ({error.strerror})") from error


def recipe_name(argument: str) -> str:
    """Returns "ssd300_custom:cpu" for "configs/ssd300_custom.py:cpu"."""
    path, colon, variant = argument.partition(":")
    return f"{Path(path).stem}{colon}{variant}"


def default_name(recipe: str, options: Mapping[str, Any]) -> str:
    """Returns the recipe's and the data's name as one that any file system takes."""
    section = options["data"]
    where = Path(section["root"]).resolve().name if section["root"] else section["kind"]
    return re.sub(r"[^\w.-]+", "-", f"{recipe}-{where}").strip("-")


if __name__ == "__main__":
    cli.run(main, prepare=define_flags, imports=["ssd_jax.commands.inspect.report"])
