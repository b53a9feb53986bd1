"""Lists what a file of weights holds; with --output, converts it.

    python -m ssd_jax.commands.weights SOURCE
    python -m ssd_jax.commands.weights SOURCE --output=FILE.safetensors [--license=...]
    python -m ssd_jax.commands.weights SOURCE --output=FOLDER [--config=configs/ssd300_coco.py]

SOURCE is a file of anyone's (.pth, .caffemodel, .safetensors, .h5, .npz), the folder of a run of ours (FOLDER@STEP), or
a file that this command wrote. FILE.safetensors holds all that detecting needs and is what one publishes; FILE.md
beside it is its card. FOLDER becomes a checkpoint for evaluate.py, detect.py, export.py and --config.init.ckpt.
Of a detector of others, --config says what its file does not: everything but the network. docs/weights.md tells which
files are known and where people get them.
"""

import sys
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from ssd_jax.commands import cli, provenance
from ssd_jax.errors import InputError

FLAGS = flags.FLAGS
RECIPE = provenance.CHECKOUT / "configs" / "ssd300_voc.py"


def define_flags(argv: Sequence[str]) -> None:
    """Defines the options; not at import, so that other programs with a --config may import this module."""
    default = str(RECIPE) if RECIPE.is_file() else None  # only a checkout has recipes
    config_flags.DEFINE_config_file("config", default, "Recipe of a converted detector.", sys_argv=list(argv))
    flags.DEFINE_string("output", None, "FILE.safetensors to publish, or a FOLDER for a checkpoint.")
    flags.DEFINE_integer("step", None, "Of a run: which checkpoint; default: the best by metric, else the newest.")
    flags.DEFINE_list("class_names", [], "Classes of a detector of others, without background; default: VOC's, COCO's.")
    flags.DEFINE_string("family", "", "Whose network the file holds; default: told by its arrays.")
    flags.DEFINE_enum("channels", "", ["", "rgb", "bgr"], "Colors that its first convolution expects; default: usual.")
    flags.DEFINE_enum("tiling", "", ["", "voc", "coco"], "Sizes of its default boxes; default: by its classes.")
    flags.DEFINE_string("license", "", "License of the weights, for the card; SPDX identifiers are understood best.")


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    # Imported here, so that a wrong option is answered at once.
    from ssd_jax.commands.weights import converting, listing, sources

    given = converting.given_options(sys.argv[1:])
    stray = [*given, *(name for name in ("class_names", "license") if getattr(FLAGS, name))]
    if FLAGS.output is None and stray:
        raise InputError(f"--{min(stray)}: expected --output as well, without which nothing is written")
    source = sources.open_source(
        argv[1],
        step=FLAGS.step,
        family=FLAGS.family,
        channels=FLAGS.channels,
        tiling=FLAGS.tiling,
        need_family=FLAGS.output is not None,
    )
    if FLAGS.output is None:
        print("\n".join(listing.lines(source)))
        return 0
    written = converting.convert(
        source,
        FLAGS.output,
        config=FLAGS.config,
        given=given,
        class_names=FLAGS.class_names,
        license_=FLAGS.license,
    )
    print("\n".join(written))
    return 0


if __name__ == "__main__":
    cli.run(main, prepare=define_flags, positional=("SOURCE",), imports=["ssd_jax.commands.weights.converting"])
