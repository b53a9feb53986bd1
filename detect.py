"""Detects objects in images, folders, videos and what a camera sees.

    python detect.py --ckpt=runs/ssd300_voc --input=photos [--output=DIR]
    python detect.py --ckpt=runs/ssd300_voc --input='photos/*.jpg' --classes=dog,cat --score_threshold=0.4
    python detect.py --ckpt=ssd300_voc.safetensors --input=clip.mp4 --write=pictures,jsonl
    find photos -name '*.jpg' | python detect.py --ckpt=runs/ssd300_voc --input=- --write=comp4

--input is an image, a folder (with all folders in it), a glob, a video, - (a list of paths on stdin) or the number of
a camera; it may be repeated. What is found is drawn on copies of the pictures and written as JSON Lines, or as
--write says, into --output. Exit status 3: done, but files were skipped, which are named. docs/detect.md says more.
"""

import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from ssd_jax.commands import cli, compilation_cache
from ssd_jax.commands.detect import forms, wording
from ssd_jax.errors import InputError

if TYPE_CHECKING:
    from ssd_jax.commands.detect.results import Counts

FLAGS = flags.FLAGS
flags.DEFINE_string("ckpt", None, "Folder of a training run (its --workdir), or a file of a trained detector.")
flags.DEFINE_integer("step", None, "Checkpoint of a run; default: the best by metric, else the newest.")
flags.DEFINE_multi_string("input", None, "Image, folder, glob, video, - (list on stdin) or camera; may be repeated.")
flags.DEFINE_string("output", "runs/detections", "Folder for what is written; files of the same names are replaced.")
flags.DEFINE_list("write", ["pictures", "jsonl"], "Some of pictures (videos, too), jsonl, comp4 (VOC), coco.")
flags.DEFINE_float("score_threshold", 0.6, "Lowest score of what is kept.", lower_bound=0.0, upper_bound=1.0)
flags.DEFINE_list("classes", [], "Names of the classes that are kept; default: all.")
flags.DEFINE_integer("top_k", None, "Objects kept in each image, the best; default: all.", lower_bound=1)
flags.DEFINE_integer("batch_size", 32, "Images that the network sees at once, at most.", lower_bound=1)
flags.mark_flags_as_required(["ckpt", "input"])
compilation_cache.define_flag()

SKIPPED = 3  # exit status: done, but for files that could not be used


def main(_) -> int:
    """Runs the command line; returns the exit status."""
    # Imported here, so that a wrong option is answered at once.
    from ssd_jax.commands import setup
    from ssd_jax.commands.detect import choosing, jobs, results, stopping
    from ssd_jax.inference import Detector

    job = jobs.plan(FLAGS.input, Path(FLAGS.output).expanduser(), FLAGS.write, read_stdin=sys.stdin.buffer.read)
    cli.warn_if_gpu_is_idle()
    compilation_cache.start()
    detector = Detector.load(FLAGS.ckpt, step=FLAGS.step, batch_size=jobs.batch_size_for(job, FLAGS.batch_size))
    labels = choosing.labels_of(FLAGS.classes, detector.class_names)
    choice = choosing.Choice(FLAGS.score_threshold, labels, FLAGS.top_k)
    output = setup.open_workdir(FLAGS.output, option="--output")
    print(f"detecting with {detector.name} in {job.describe()}", flush=True)
    begin = time.perf_counter()
    images = [file for file, _ in job.images]
    with stopping.listening() as stop, results.Results(output, FLAGS.write, detector.class_names, images) as written:
        try:
            jobs.carry_out(job, detector, choice, written, stop)
        finally:
            stop.is_completing = True
    report(written.counts, time.perf_counter() - begin)
    return stop.status or (SKIPPED if written.counts.skipped else 0)


@flags.multi_flags_validator(["ckpt", "output", "write", "score_threshold"])
def check_options(given: Mapping[str, Any]) -> bool:
    """Refuses options that mean nothing; called when they are parsed, before JAX is imported."""
    for name in ("ckpt", "output"):
        if not given[name]:
            raise InputError(f"--{name}: expected a path, got none")
    for form in given["write"] or [""]:
        if form not in forms.FORMS:
            raise InputError(f"--write: expected some of {', '.join(forms.FORMS)}, got {form!r}")
    if math.isnan(given["score_threshold"]):  # which absl finds between any bounds
        raise InputError("--score_threshold: expected a number from 0 to 1, got nan")
    return True


def report(counts: "Counts", seconds: float) -> None:
    """Prints what was found, how fast, and where it is."""
    kinds = ((counts.images, "image"), (counts.frames, "frame"))
    seen = " and ".join(wording.counted(*kind) for kind in kinds if kind[0]) or "0 images"
    rate = (counts.images + counts.frames) / seconds
    objects = wording.counted(counts.objects, "object")
    print(f"found {objects} with a score of at least {FLAGS.score_threshold:g} in {seen}")
    print(f"time:    {seconds:.1f} s with compilation, {rate:.1f} a second")
    if counts.skipped:
        print(f"skipped: {wording.counted(len(counts.skipped), 'file')}, named above")
    if FLAGS.score_threshold > 0.05 and {"comp4", "coco"} & set(FLAGS.write):
        print("note:    average precision also needs bad scores: --score_threshold=0.01")
    print(f"written: {', '.join(FLAGS.write)} to {FLAGS.output}")


if __name__ == "__main__":
    cli.run(main, imports=["ssd_jax.inference"])
