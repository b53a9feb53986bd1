"""Every backbone, through the programs: learns eight images by heart, is resumed, evaluated."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
STEPS = 160
BASE = [
    "--config=configs/ssd_demo.py",
    "--config.data.eval_split=train",
    "--config.data.shapes.length=8",
    "--config.train.batch_size=8",
    "--config.train.log_every=40",
    f"--config.train.evaluate_every={10 * STEPS}",
    f"--config.train.checkpoint_every={STEPS // 2}",
    "--config.evaluate.batch_size=8",
    "--config.optimizer.warmup_steps=20",
    "--config.augment.distort_probability=0.0",
    "--config.augment.expand_probability=0.0",
    "--config.augment.crop_probability=0.0",
    "--config.augment.flip_probability=0.0",
    "--config.augment.interpolation=linear",
]
RESNET = "((256,512,3,2,1),(256,512,3,2,1),(128,256,3,2,1))"  # 16x16, 8x8, 4x4, 2x2 cells, as with VGG
NETWORKS = {
    "vgg16": [],
    "resnet34": ["--config.model.backbone=resnet34", f"--config.model.extras={RESNET}"],
    "resnet50": ["--config.model.backbone=resnet50", f"--config.model.extras={RESNET}"],
    "mobilenet_v2": [
        "--config.model.backbone=mobilenet_v2",
        "--config.model.width_multiplier=0.35",
        "--config.model.image_size=(192,192)",  # its finest map has a cell for 16 pixels
        "--config.data.shapes.image_size=(192,192)",
        "--config.loader.canvas=(192,192)",
        "--config.model.extra_blocks=inverted_residual",
        "--config.model.heads=separable",
        "--config.model.min_sizes=(18.0,42.0,78.0,126.0)",
        "--config.model.max_sizes=(42.0,78.0,126.0,174.0)",
    ],
}


def run(*arguments: str) -> str:
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_backbone_learns_eight_images_is_resumed_and_evaluated(name, tmp_path):
    options = [*BASE, *NETWORKS[name], f"--workdir={tmp_path / 'run'}"]
    run("train.py", *options, f"--config.train.num_steps={STEPS // 2}")
    resumed = run("train.py", *options, f"--config.train.num_steps={STEPS}")
    assert f"resuming after step {STEPS // 2} of {STEPS}" in resumed
    run("evaluate.py", f"--ckpt={tmp_path / 'run'}", f"--step={STEPS}", "--num_pictures=0")
    metrics = json.loads((tmp_path / "run/evaluation/metrics.json").read_text())
    assert metrics["voc"]["mean_ap"]["voc07_11point"] >= 0.95
