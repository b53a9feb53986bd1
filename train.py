"""Trains a detector; the same command resumes an interrupted run, exactly.

python train.py --config=configs/ssd300_voc.py --workdir=runs/ssd300_voc [--config.section.key=value]
python train.py --config=... --summary      prints the network's layers and default boxes
python train.py --config=... --dry_run      runs one step: memory, time, estimate of the whole run
python train.py --config=... --profile=20:5 traces steps 20 to 24
python train.py --replay=DUMP               makes a step again that was not finite

docs/training.md tells what is logged, saved and resumed, what faults do, and the exit statuses; docs/scale.md
how to use several GPUs and hosts.
"""

import contextlib
import shlex
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags

from ssd_jax.commands import cli, compilation_cache, distributed

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, metrics. An existing run is resumed.")
flags.DEFINE_bool("dry_run", False, "Run one step on real data and print memory, time and an estimate; write nothing.")
flags.DEFINE_bool("summary", False, "Print the layer table and the default boxes, and stop.")
flags.DEFINE_string("profile", None, "START:COUNT: trace so many steps from step START on, into WORKDIR/profile.")
flags.DEFINE_string("replay", None, "WORKDIR/nonfinite/step_N: make that step again and explain it.")
compilation_cache.define_flag()


def define_config(argv: Sequence[str]) -> None:
    """Defines --config: a file of configs/, or with --replay the configuration of the dump."""
    chosen = flags.FlagValues()
    flags.DEFINE_string("replay", None, "", flag_values=chosen)
    chosen(argv, known_only=True)
    if chosen.replay is None:
        config_flags.DEFINE_config_file("config", None, "Recipe, a file of configs/.", sys_argv=list(argv))
        flags.mark_flag_as_required("config")
    else:
        from ssd_jax import recipe as recipes
        from ssd_jax.commands import options, replay

        config = ConfigDict(recipes.plain(replay.read(chosen.replay).config))
        options.define_config_dict("config", config, argv, origin="--replay")


def main(_) -> int:
    """Runs the command line; returns the exit status."""
    # Imported here, so that a wrong option is answered at once.
    import jax

    from ssd_jax import checkpoint, parallel, processes, training
    from ssd_jax import recipe as recipes
    from ssd_jax.commands import checks, describe, inputs, profile, replay, resume, runtime, scoring, setup
    from ssd_jax.commands.interrupt import StopSignal
    from ssd_jax.commands.progress import NonFiniteStep, Progress

    recipe = recipes.plain(FLAGS.config)
    settings = recipe["train"]
    recipes.splat("runtime", runtime.configure, recipe["runtime"])
    distributed.start()
    if not FLAGS.summary:
        compilation_cache.start()
    cli.warn_if_gpu_is_idle()
    if FLAGS.summary:
        print(describe.layer_table(recipe))
        return 0
    checks.check_settings(recipe)
    if FLAGS.replay:
        print(replay.run(FLAGS.replay, recipe))
        return 0
    checks.check_inputs(recipe)
    traced = profile.parse(FLAGS.profile, num_steps=settings["num_steps"])
    workdir = None if FLAGS.dry_run else setup.open_workdir(FLAGS.workdir)
    source = inputs.open_source(recipe, "train")
    checks.check_objects(recipe, source)
    eval_source = inputs.open_source(recipe, "eval", source.class_names)
    network = setup.build_network(recipe, source.class_names)
    state, origin = setup.initial_state(recipe, network, workdir)
    train_step = setup.compile_train_step(recipe, network)
    setup.check_train_step(recipe, train_step, state, source)
    print(describe.start_summary(recipe, network, state, source, eval_source))
    if workdir is None:
        print(describe.dry_run(recipe, network, state, source, train_step))
        return 0

    total = settings["num_steps"]
    checkpoint.check_space(workdir, state)
    # Built here, where Ctrl-C still ends the program at once.
    cache, eval_cache = inputs.open_cache(recipe, source), inputs.open_cache(recipe, eval_source)
    evaluate = scoring.make_evaluator(recipe, network, eval_source, eval_cache)
    description = setup.run_description(recipe, source, origin)

    def is_due(step: int) -> bool:
        return step % settings["evaluate_every"] == 0 or step == total

    with (
        setup.lock_workdir(workdir),
        StopSignal(network.mesh) as stop,
        checkpoint.open_manager(workdir, keep=settings["keep_checkpoints"]) as manager,
    ):
        state, start = resume.resume(manager, state, description, network.mesh)
        rest = ": nothing is left to train" if start >= total else ""
        print(f"resuming after step {start} of {total}{rest}" if start else f"starting in {workdir}", flush=True)
        stream = inputs.train_batches(recipe, source, start, cache)
        progress = Progress(
            workdir,
            start=start,
            total=total,
            every=settings["log_every"],
            batch_size=settings["batch_size"],
            name_of=lambda index: source[index].id,
            on_nonfinite=settings["on_nonfinite"],
            tensorboard=settings["tensorboard"],
            active=jax.process_index() == 0,
        )
        carried = resume.carried_over(manager, start, origin)
        progress.unreadable |= carried.unreadable
        trace = profile.Trace(traced, workdir, progress, start=start)
        with contextlib.closing(stream) as batches, progress, trace:

            def score(step: int) -> dict[str, float] | None:
                progress.check()
                found = evaluate(training.evaluated_variables(state), should_stop=stop.agreed)
                return found and describe.report_scores(progress, recipe, step, found)

            def save(step: int, scores: dict[str, float] | None) -> None:
                progress.check()
                progress.sync()
                known = {resume.UNREADABLE: processes.union(progress.unreadable), "origin": carried.origin}
                checkpoint.save(manager, step, state, description | known, metrics=scores)
                progress.restart_clock()

            step, stopping = start, False
            if start and is_due(start) and not checkpoint.is_evaluated(manager, start):  # stopped before it could be
                scores = score(start)
                stopping = scores is None
                if scores:
                    checkpoint.add_metrics(manager, start, scores)
            try:
                for step in range(start + 1, total + 1) if not stopping else ():
                    trace.before(step)
                    batch = progress.timed(batches)
                    state, metrics = train_step(state, parallel.split(batch, network.mesh))
                    trace.after(step, metrics)
                    progress.step(step, batch, metrics)

                    scores, stopping = None, stop.agreed()  # looked at once: a later signal ends the next step
                    if is_due(step) and not stopping:
                        scores = score(step)
                        stopping = scores is None
                    if scores or step % settings["checkpoint_every"] == 0 or stopping:
                        stop.saving = stopping
                        save(step, scores)
                    if stopping:
                        break
                progress.check()
            except NonFiniteStep as error:
                raise replay.write(workdir, error, state, description, progress.name_of) from None
    if stopping:
        print(f"stopped after step {step}; saved in {workdir}. The same command goes on from there.")
        return stop.status
    print(f"trained to step {step}; next: python evaluate.py --ckpt={shlex.quote(str(workdir))}")
    return 0


if __name__ == "__main__":
    cli.run(main, prepare=define_config, imports=["ssd_jax.commands.scoring", "ssd_jax.commands.resume"])
