"""Exports a trained detector: for JAX without this library, for ONNX Runtime, or as published weights.

    python export.py --ckpt=runs/mine --format=stablehlo --output=detector.stablehlo
    python export.py --ckpt=runs/mine --format=onnx --output=detector.onnx [--nms=False] [--batch_size=8]
    python export.py --ckpt=runs/mine --format=safetensors --output=detector.safetensors

What is written is read again and compared with the live model, on rendered pictures or on those of --images, before the
file takes its name. docs/deploy.md says how to run each format, what is inside and what the limits are.
"""

from absl import flags

from ssd_jax.commands import cli, compilation_cache

FLAGS = flags.FLAGS
flags.DEFINE_string("ckpt", None, "Folder of a training run (its --workdir), or a published .safetensors.")
flags.DEFINE_integer("step", None, "Checkpoint of the run; default: the best by metric, else the newest.")
flags.DEFINE_enum("format", None, ["stablehlo", "onnx", "safetensors"], "What is written.")
flags.DEFINE_string("output", None, "The file; an earlier one is replaced.")
flags.DEFINE_list(
    "platforms", None, "Of stablehlo: those of cpu, cuda, rocm, tpu that it is for; default: all but rocm."
)
flags.DEFINE_bool("nms", True, "Suppress inside; else the boxes and probabilities of all default boxes come out.")
flags.DEFINE_integer("batch_size", None, "Fixed number of images a call; default: any.", lower_bound=1)
flags.DEFINE_string("images", None, "An image or a folder to compare on; default: rendered pictures.")
flags.mark_flags_as_required(["ckpt", "format", "output"])
compilation_cache.define_flag()


def main(_) -> int:
    """Runs the command line; returns the exit status."""
    # Imported here, so that a wrong option is answered at once.
    import jax

    from ssd_jax import export, weights
    from ssd_jax.export import pictures

    jax.config.update("jax_traceback_in_locations_limit", 0)  # else the program names the folders of this machine
    options = export.Options(FLAGS.format, FLAGS.nms, FLAGS.batch_size, FLAGS.platforms and tuple(FLAGS.platforms))
    cli.warn_if_gpu_is_idle()
    compilation_cache.start()
    trained = weights.read(FLAGS.ckpt, step=FLAGS.step)
    print(f"exporting {trained.name}: {len(trained.class_names) - 1} classes", flush=True)
    canvas = tuple(trained.recipe["loader"]["canvas"])
    seen = pictures.from_files(FLAGS.images, canvas) if FLAGS.images else pictures.rendered(canvas)
    line = export.export(trained, FLAGS.output, options, seen)
    print(f"compared with the live model on {seen.name}: {line}")
    print(f"written: {FLAGS.output}")
    return 0


if __name__ == "__main__":
    cli.run(main, imports=["ssd_jax.export", "ssd_jax.weights"])
