"""Shows a detector on a local page: drop pictures, see boxes. A JSON endpoint answers programs.

python -m ssd_jax.commands.serve --ckpt=runs/RUN [--port=8000] [--examples=FOLDER]

The page is for this computer: it listens on 127.0.0.1 unless --host says otherwise, keeps nothing that is sent to it,
and knows no users or passwords. Ctrl-C ends it, with status 130. See docs/serve.md.
"""

import importlib.util
import math
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from ssd_jax.commands import cli, compilation_cache
from ssd_jax.errors import InputError

FLAGS = flags.FLAGS


def define_flags(_) -> None:
    """Defines the options; not at import, so that other programs may import this module."""
    flags.DEFINE_string("ckpt", None, "A run's folder, a .safetensors file or an exported model.")
    flags.DEFINE_integer(
        "step", None, "Checkpoint of a run; default: the best by metric, else the newest.", lower_bound=0
    )
    flags.DEFINE_integer("port", 8000, "Port to listen on; 0: any that is free.", lower_bound=0, upper_bound=65535)
    flags.DEFINE_string("host", "127.0.0.1", "Address to listen on; another than this computer's own opens the page.")
    flags.DEFINE_string(
        "examples", None, "Folder with pictures to offer; default: rendered shapes, if trained on those."
    )
    flags.DEFINE_float("score_threshold", 0.6, "Where the slider stands at first.", lower_bound=0, upper_bound=1)
    flags.DEFINE_float("max_megabytes", 20, "Of one encoded picture.", lower_bound=0.001, upper_bound=1000)
    flags.DEFINE_float("max_megapixels", 64, "Of one decoded picture.", lower_bound=0.001, upper_bound=1000)
    flags.DEFINE_integer("max_requests", 8, "Pictures at a time; one more is refused.", lower_bound=1, upper_bound=64)
    flags.mark_flag_as_required("ckpt")
    compilation_cache.define_flag()


def main(_: Sequence[str]) -> int:
    """Runs the command line; serves until a signal ends the process."""
    check_libraries()
    check_numbers()
    # Imported here, so that a wrong option is answered at once.
    import jax

    from ssd_jax.commands.serve import examples, listening
    from ssd_jax.commands.serve.app import Limits, make_app
    from ssd_jax.inference import Detector

    with listening.bind(FLAGS.host, FLAGS.port) as place:
        cli.warn_if_gpu_is_idle()
        compilation_cache.start()
        limits = Limits(int(1e6 * FLAGS.max_megabytes), int(1e6 * FLAGS.max_megapixels), FLAGS.max_requests)
        bounds = dict(max_bytes=limits.max_bytes, max_pixels=limits.max_pixels)
        chosen = examples.of_folder(Path(FLAGS.examples).expanduser(), **bounds) if FLAGS.examples else []
        begin = time.perf_counter()
        device = jax.local_devices()[0]
        detector = Detector.load(FLAGS.ckpt, step=FLAGS.step, batch_size=1, devices=[device])
        detector.warm_up()
        print(f"model: {detector.name}: {len(detector.class_names) - 1} classes", flush=True)
        print(f"ready: loaded and compiled in {time.perf_counter() - begin:.1f} s", flush=True)
        height, width = detector.recipe["model"]["image_size"]
        app = make_app(
            detector,
            limits=limits,
            input_size=(int(height), int(width)),
            score_threshold=FLAGS.score_threshold,
            device=device.device_kind if device.platform != "cpu" else "the CPU",
            examples=chosen or examples.of_shapes(detector.class_names),
            names=place.names,
            loopback=place.loopback,
        )
        listening.serve(app, place)
    return 0


def check_libraries() -> None:
    """Raises InputError if the extra "serve" is not installed."""
    for package in ("starlette", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"the page needs {package}, which is not installed; run in the project's folder: "
                'python -m pip install -e ".[serve]"'
            )


def check_numbers() -> None:
    """Raises InputError for nan, which absl finds between any bounds."""
    given = dict(
        score_threshold=FLAGS.score_threshold, max_megabytes=FLAGS.max_megabytes, max_megapixels=FLAGS.max_megapixels
    )
    for name, value in given.items():
        if math.isnan(value):
            raise InputError(f"--{name}: expected a number, got nan")


if __name__ == "__main__":
    cli.run(main, prepare=define_flags, imports=("ssd_jax.inference",))
