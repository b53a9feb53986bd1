"""Evaluates a trained detector, or the detections of any other, and explains its errors.

    python evaluate.py --ckpt=runs/ssd300_voc [--step=N] [--config.data.eval_split=VOC2007/test]
    python evaluate.py --detections=FOLDER_OR_FILE --annotations=VOCdevkit --split=VOC2007/test
    python evaluate.py --ckpt=runs/b --report --compare=runs/a/evaluation

With --ckpt, configuration, classes and network come from the checkpoint; --config.section.key=value overrides, for
example to evaluate on another dataset. With --detections no network is needed: files in VOC's comp4 format or COCO's
results are read. docs/evaluation.md says which rule each figure follows and how to read the report.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags
from ml_collections import ConfigDict

from ssd_jax.commands import cli, compilation_cache, distributed
from ssd_jax.errors import InputError

if TYPE_CHECKING:
    from ssd_jax.commands.results import Planned

FLAGS = flags.FLAGS
flags.DEFINE_string("ckpt", None, "Folder of a training run (its --workdir).")
flags.DEFINE_integer("step", None, "Checkpoint to evaluate; default: the best by metric, else the newest.")
flags.DEFINE_string("detections", None, "Instead of --ckpt: comp4 files (a folder or an archive) or COCO results.")
flags.DEFINE_string("annotations", None, "Ground truth for --detections: a folder as in docs/data.md, or a COCO JSON.")
flags.DEFINE_string("split", "", "Which part of --annotations, such as VOC2007/test; a COCO JSON needs none.")
flags.DEFINE_string("kind", "", "Format of --annotations (voc, coco, ...); default: by what lies there.")
flags.DEFINE_list("class_names", [], "Classes of --annotations in the order of their labels; default: theirs.")
flags.DEFINE_enum("unknown", "error", ["error", "drop"], "Annotated objects of other classes than --class_names.")
flags.DEFINE_string("output", None, "Folder for what is written; default: CKPT/evaluation, or DETECTIONS-evaluation.")
flags.DEFINE_list("metrics", ["voc", "coco"], "Figures beside VOC's: thresholds (0.50 to 0.95), coco, ilsvrc.")
flags.DEFINE_bool("report", False, "Write report.html, which explains the errors with pictures.")
flags.DEFINE_multi_string("compare", [], "Another evaluation's folder, or detections, for the report; may be repeated.")
flags.DEFINE_bool("save_detections", True, "Write the detections as files that other programs can read.")
flags.DEFINE_string("submission", "", "Name of the detector: write the archive for COCO's or VOC2012's server.")
flags.DEFINE_integer("num_pictures", 8, "Images on the contact sheet; 0 = no sheet.", lower_bound=0)
flags.DEFINE_integer("max_picture_kb", 0, "Largest size of the contact sheet's file; 0 = no limit.", lower_bound=0)
compilation_cache.define_flag()


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
    from ssd_jax.commands import results, setup

    check_options(results.METRICS)
    evaluation = open_network() if FLAGS.ckpt else open_files()
    default = f"{FLAGS.ckpt}/evaluation" if FLAGS.ckpt else f"{Path(FLAGS.detections).resolve()}-evaluation"
    outputs = results.Outputs(
        setup.open_workdir(FLAGS.output or default, option="--output"),
        detections=FLAGS.save_detections,
        submission=FLAGS.submission,
        report=FLAGS.report,
        compare=FLAGS.compare,
        num_pictures=FLAGS.num_pictures,
        max_picture_bytes=1000 * FLAGS.max_picture_kb or None,
    )
    others = results.prepare(evaluation, outputs)  # what cannot be done is said before the network runs
    found = evaluation.run()
    if distributed.is_main():
        results.write(evaluation, found, outputs, others, metrics=FLAGS.metrics)
    processes.wait_for_all("evaluation written")  # whoever is done first would wait for the others only so long
    if FLAGS.ckpt:
        print(f"checkpoint: {Path(FLAGS.ckpt) / 'checkpoints' / str(evaluation.facts['step'])}")
        if FLAGS.config.data.kind == "shapes":
            print(
                "next:       your own images: python -m ssd_jax.commands.inspect --config=configs/ssd300_custom.py "
                "--config.data.root=FOLDER (docs/data.md)"
            )
    return 0


def check_options(metrics: Sequence[str]) -> None:
    """Refuses options that contradict each other."""
    if (FLAGS.ckpt is None) == (FLAGS.detections is None):
        got = "neither" if FLAGS.ckpt is None else "both"
        raise InputError(f"expected --ckpt=RUN, or --detections=FILES with --annotations=ROOT_OR_JSON, got {got}")
    if FLAGS.detections is not None and FLAGS.annotations is None:
        raise InputError("--detections: expected --annotations=ROOT_OR_JSON as well, the ground truth")
    for name in ("ckpt", "detections", "annotations", "compare"):
        given = FLAGS[name].value or ()
        if FLAGS[name].present and "" in ([given] if isinstance(given, str) else given or [""]):
            raise InputError(f"--{name}: expected a path, got none")
    with_files = ("annotations", "split", "kind", "class_names", "unknown")
    if FLAGS.ckpt is not None and (given := [name for name in with_files if FLAGS[name].present]):
        raise InputError(f"--{given[0]}: expected --detections; with --ckpt, --config.data.* say what is evaluated")
    if FLAGS.ckpt is None and FLAGS["step"].present:
        raise InputError("--step: expected --ckpt, whose checkpoint it chooses")
    if FLAGS.compare and not FLAGS.report:
        raise InputError("--compare: expected --report, in which the comparison stands")
    for name in FLAGS.metrics:
        if name not in metrics:
            raise InputError(f"--metrics: expected some of {', '.join(metrics)}, got {name!r}")


def open_network() -> "Planned":
    """Restores a trained network and opens the images of the recipe's evaluation split."""
    import tqdm

    from ssd_jax import recipe as recipes
    from ssd_jax.commands import checks, describe, inputs, results, resume, runtime, scoring

    recipe = recipes.plain(FLAGS.config)
    cli.warn_if_gpu_is_idle()
    compilation_cache.start()
    runtime.set_matmul_precision(recipe["runtime"]["matmul_precision"])
    checks.check_settings(recipe)
    network, variables, step, choice = resume.restore_run(FLAGS.ckpt, FLAGS.step, recipe)
    source = inputs.open_source(recipe, "eval", network.class_names)
    print(f"evaluating step {step} ({choice}) of {FLAGS.ckpt} on {len(source):,} images ({source.name})", flush=True)
    for line in describe.data_remarks(recipe, source):
        print(f"data: {line}")
    evaluate = scoring.make_evaluator(recipe, network, source, measured=getattr(source, "annotated", True))

    def run() -> scoring.Evaluation:
        # disable=None: no bar where nobody looks at it.
        with tqdm.tqdm(total=len(source), unit=" images", disable=None if distributed.is_main() else True) as bar:
            return evaluate(variables, on_images=bar.update)

    section = recipe["data"]
    one_based = section["kind"] == "voc" and section.get("voc", {}).get("one_based")
    return results.Planned(
        source,
        network.class_names,
        run,
        name=f"{Path(FLAGS.ckpt).resolve().name}, step {step}",
        data=f"{Path(section['root']).name or section['kind']} {section['eval_split']}",
        split=section["eval_split"],
        shift=1.0 if one_based else 0.0,
        facts={"checkpoint": FLAGS.ckpt, "step": step},
    )


def open_files() -> "Planned":
    """Reads detections and ground truth from files."""
    from ssd_jax import data
    from ssd_jax.commands import annotations, results, scoring
    from ssd_jax.evaluation import detection_files

    source = annotations.open_annotations(
        FLAGS.annotations,
        FLAGS.split,
        kind=FLAGS.kind or None,
        class_names=tuple(FLAGS.class_names),
        unknown=FLAGS.unknown,
    )
    for line in source.problems.lines():
        print(f"data: {line}")
    place = results.detections_of(FLAGS.detections)
    detections = detection_files.read(place, source, split=FLAGS.split)
    count = sum(len(found.labels) for found in detections)
    print(f"evaluating {count:,} detections ({place}) on {len(source):,} images ({source.name})", flush=True)
    found = scoring.Evaluation(source, source.class_names, detections, data.ground_truth(source))
    return results.Planned(
        source,
        source.class_names,
        lambda: found,
        name=results.run_name(FLAGS.detections),
        data=f"{Path(FLAGS.annotations).name} {FLAGS.split}".strip(),
        split=FLAGS.split or annotations.split_of_file(FLAGS.annotations),
        facts={"detections": FLAGS.detections},
    )


if __name__ == "__main__":
    cli.run(main, prepare=define_config, imports=["ssd_jax.commands.scoring"])
