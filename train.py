"""Trains a detector; the same command resumes an interrupted run.

python train.py --config=configs/ssd300_voc.py --workdir=runs/ssd300_voc [--config.section.key=value]
python train.py --config=... --summary      prints the network's layers and default boxes
python train.py --config=... --dry_run      runs one step: memory, time, estimate of the whole run
"""

import contextlib
import shlex

from absl import flags
from ml_collections import config_flags

from ssd_jax.commands import cli

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "Recipe, a file of configs/.")
flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, metrics. An existing run is resumed.")
flags.DEFINE_bool("dry_run", False, "Run one step on real data and print memory, time and an estimate; write nothing.")
flags.DEFINE_bool("summary", False, "Print the layer table and the default boxes, and stop.")
flags.mark_flag_as_required("config")


def main(_) -> int:
    """Runs the command line; returns the exit status."""
    # Imported here, so that a wrong option is answered at once.
    from ssd_jax import checkpoint, parallel, training
    from ssd_jax import recipe as recipes
    from ssd_jax.commands import checks, describe, inputs, scoring, setup
    from ssd_jax.commands.interrupt import StopSignal
    from ssd_jax.commands.progress import Progress

    recipe = recipes.plain(FLAGS.config)
    settings = recipe["train"]
    cli.warn_if_gpu_is_idle()
    if FLAGS.summary:
        print(describe.layer_table(recipe))
        return 0
    checks.check_inputs(recipe)
    checks.check_settings(recipe)
    workdir = None if FLAGS.dry_run else setup.open_workdir(FLAGS.workdir)
    source = inputs.open_source(recipe, "train")
    checks.check_objects(recipe, source)
    eval_source = inputs.open_source(recipe, "eval", source.class_names)
    network = setup.build_network(recipe, source.class_names)
    state = setup.initial_state(recipe, network, workdir)
    train_step = setup.compile_train_step(recipe, network)
    setup.check_train_step(recipe, train_step, state, source)
    print(describe.start_summary(recipe, network, state, source, eval_source))
    if workdir is None:
        print(describe.dry_run(recipe, network, state, source, train_step))
        return 0

    total = settings["num_steps"]
    # Built here, where Ctrl-C still ends the program at once.
    cache, eval_cache = inputs.open_cache(recipe, source), inputs.open_cache(recipe, eval_source)
    evaluate = scoring.make_evaluator(recipe, network, eval_source, eval_cache)
    description = setup.run_description(recipe, source)
    with StopSignal() as stop, checkpoint.open_manager(workdir, keep=settings["keep_checkpoints"]) as manager:
        state, start = setup.resume(manager, state, description, network.mesh)
        print(f"resuming after step {start} of {total}" if start else f"starting in {workdir}", flush=True)
        stream = inputs.train_batches(recipe, source, start, cache)
        progress = Progress(
            workdir,
            start=start,
            total=total,
            every=settings["log_every"],
            batch_size=settings["batch_size"],
            name_of=lambda index: source[index].id,
        )
        with contextlib.closing(stream) as batches, progress:
            step = start
            for step in range(start + 1, total + 1):
                batch = progress.timed(batches)
                state, metrics = train_step(state, parallel.split(batch, network.mesh))
                progress.step(step, batch, metrics)

                scores, stopping = None, stop.requested  # looked at once: a later signal ends the next step, saved
                if (step % settings["evaluate_every"] == 0 or step == total) and not stopping:
                    progress.check()
                    found = evaluate(training.evaluated_variables(state))
                    scores = describe.report_scores(progress, recipe, step, found)
                if scores or step % settings["checkpoint_every"] == 0 or stopping:
                    progress.check()
                    stop.saving = stopping
                    checkpoint.save(manager, step, state, description, metrics=scores)
                    progress.restart_clock()
                if stopping:
                    break
            progress.check()
    if stop.requested:
        print(f"stopped after step {step}; saved in {workdir}. The same command goes on from there.")
        return cli.INTERRUPTED
    print(f"trained to step {step}; next: python evaluate.py --ckpt={shlex.quote(str(workdir))}")
    return 0


if __name__ == "__main__":
    cli.run(main)
