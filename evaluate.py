"""Evaluates a trained detector and draws what it finds.

    python evaluate.py --ckpt=runs/ssd300_voc [--step=N] [--config.data.eval_split=VOC2007/test]

Configuration, classes and network come from the checkpoint; --config.section.key=value overrides,
for example to evaluate on another dataset.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags
from ml_collections import ConfigDict

from ssd_jax.commands import cli, distributed

if TYPE_CHECKING:
    from ssd_jax.commands.scoring import Evaluation

FLAGS = flags.FLAGS
flags.DEFINE_string("ckpt", None, "Folder of a training run (its --workdir).")
flags.DEFINE_integer("step", None, "Checkpoint to evaluate; default: the best by metric, else the newest.")
flags.DEFINE_string("output", None, "Folder for metrics.json and detections.png; default: CKPT/evaluation.")
flags.DEFINE_integer("num_pictures", 8, "Images on the contact sheet; 0 = no sheet.", lower_bound=0)
flags.DEFINE_integer("max_picture_kb", 0, "Largest size of the contact sheet's file; 0 = no limit.", lower_bound=0)
flags.mark_flag_as_required("ckpt")


def define_config(argv: Sequence[str]) -> None:
    """Defines --config from the checkpoint named on the command line, so that overrides are checked against it."""
    chosen = flags.FlagValues()
    flags.DEFINE_string("ckpt", None, "", flag_values=chosen)
    flags.DEFINE_integer("step", None, "", flag_values=chosen)
    distributed.define_options(chosen)
    chosen(argv, known_only=True)
    if chosen.ckpt is not None:
        distributed.start(chosen)  # here, because reading a checkpoint asks JAX how many processes there are
        from ssd_jax import recipe as recipes
        from ssd_jax.commands import options, resume

        config = ConfigDict(recipes.plain(resume.checkpoint_config(chosen.ckpt, chosen.step)))
        options.define_config_dict("config", config, argv, origin="the checkpoint")


def main(_) -> int:
    """Runs the command line; returns the exit status."""
    # Imported here, so that a wrong option is answered at once.
    from ssd_jax import processes
    from ssd_jax import recipe as recipes
    from ssd_jax.commands import checks, describe, inputs, resume, runtime, scoring, setup

    recipe = recipes.plain(FLAGS.config)
    cli.warn_if_gpu_is_idle()
    runtime.set_matmul_precision(recipe["runtime"]["matmul_precision"])
    checks.check_settings(recipe)
    output = setup.open_workdir(FLAGS.output or str(Path(FLAGS.ckpt) / "evaluation"), option="--output")
    network, variables, step, choice = resume.restore_run(FLAGS.ckpt, FLAGS.step, recipe)
    source = inputs.open_source(recipe, "eval", network.class_names)
    print(f"evaluating step {step} ({choice}) of {FLAGS.ckpt} on {len(source):,} images ({source.name})", flush=True)
    for line in describe.data_remarks(recipe, source):
        print(f"data: {line}")

    found = scoring.make_evaluator(recipe, network, source)(variables)
    if distributed.is_main():
        write_report(output, step, found)
    processes.wait_for_all("evaluation written")  # whoever is done first would wait for the others only so long
    print(f"checkpoint: {Path(FLAGS.ckpt) / 'checkpoints' / str(step)}")
    if recipe["data"]["kind"] == "shapes":
        print(
            "next:       your own images: python -m ssd_jax.commands.inspect --config=configs/ssd300_custom.py "
            "--config.data.root=FOLDER (docs/data.md)"
        )
    return 0


def write_report(output: Path, step: int, found: "Evaluation") -> None:
    """Prints the figures, and writes them and the contact sheet to a folder."""
    from ssd_jax import files
    from ssd_jax.commands import pictures
    from ssd_jax.evaluation import coco, voc

    voc_result, coco_result = found.voc(), found.coco()
    print(f"\n{voc.as_table(voc_result)}\n\n{coco.as_table(coco_result)}\n")
    print(
        "loss {validation_loss:.3f} (location {validation_location_loss:.3f}, "
        "confidence {validation_confidence_loss:.3f})".format_map(found.losses)
    )

    metrics = {
        "step": step,
        "data": found.source.name,
        "voc": voc.as_dict(voc_result),
        "coco": coco.as_dict(coco_result),
        **found.losses,
    }
    files.write_text(output / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    print(f"metrics:    {output / 'metrics.json'}")
    if FLAGS.num_pictures:
        pictures.save_detection_sheet(
            output / "detections.png",
            found.source,
            found.detections,
            found.truth,
            class_names=found.class_names,
            num_pictures=FLAGS.num_pictures,
            title=f"{found.source.name}, step {step}",
            max_bytes=1000 * FLAGS.max_picture_kb or None,
        )
        print(f"pictures:   {output / 'detections.png'}")


if __name__ == "__main__":
    cli.run(main, prepare=define_config, imports=["ssd_jax.commands.scoring"])
