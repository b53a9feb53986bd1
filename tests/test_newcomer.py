"""The path of docs/data.md, "Your own images", followed literally: its own commands, on a folder with a CSV table."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import layouts
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SMALL = [  # the documented commands, but not for half an hour
    "--config.model.width_multiplier=0.125",
    "--config.train.num_steps=2",
    "--config.train.batch_size=2",
    "--config.evaluate.batch_size=2",
]


def commands(page: str) -> list[list[str]]:
    """Returns the commands of the section, split as a shell does."""
    section = page[page.index("## Your own images") : page.index("Whatever else your annotations")]
    blocks = re.findall(r"(?:^    .*\n)+", section, re.MULTILINE)
    lines = [line for block in blocks for line in re.sub(r"\\\n", " ", block).splitlines()]
    return [shlex.split(line) for line in lines if line.strip().startswith("python ")]


@pytest.mark.slow
def test_the_newcomers_path_leads_to_pictures(tmp_path):
    section = layouts.write_csv(tmp_path / "cells", layouts.pictures(12))
    (tmp_path / "cells" / "train.csv").rename(tmp_path / "cells" / "boxes.csv")
    for name in ("configs", "ssd_jax", "train.py", "evaluate.py"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    steps = commands((REPOSITORY / "docs/data.md").read_text(encoding="utf-8"))
    assert section["kind"] == "csv" and [step[1] for step in steps] == ["-m", "train.py", "evaluate.py"]
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    for step in steps:
        small = SMALL if any(part.startswith("--config=") for part in step) else []
        done = subprocess.run(
            [sys.executable, *step[1:], *small],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        last = done.stdout.strip().splitlines()[-1]
        assert "training can start" in last or "next: " in last or "checkpoint: " in last
    assert "Training can start" in (tmp_path / "runs/cells_inspection/inspection.html").read_text(encoding="utf-8")
    assert (tmp_path / "runs/cells/evaluation/detections.png").stat().st_size > 1000
