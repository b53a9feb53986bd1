"""The peer of postprocess.py on a GPU: torchvision's batched_nms by the same rules, in a process of its own.

python benchmarks/postprocess_torch.py FOLDER [--quick]     writes CLASSES_BATCH_SCENE.npz for each case
"""

import argparse
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["JAX_PLATFORMS"] = "cpu"  # the GPU is PyTorch's in this process

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torchvision.ops import batched_nms  # pyright: ignore[reportMissingImports]

from benchmarks import plain, postprocess, scenes
from benchmarks.interleaved import QUICK_ROUNDS, ROUNDS, Contestant, milliseconds

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
VARIANCES = torch.from_numpy(plain.VARIANCES).to(DEVICE)


def decode(offsets: torch.Tensor, priors: torch.Tensor) -> torch.Tensor:  # [P, 4], [P, 4] -> [P, 4]
    """Returns the boxes of offsets from priors."""
    offsets, size = offsets * VARIANCES, priors[:, 2:] - priors[:, :2]
    center = (priors[:, :2] + priors[:, 2:]) / 2 + offsets[:, :2] * size
    half = torch.exp(offsets[:, 2:]) * size / 2
    return torch.cat([center - half, center + half], dim=1)


def detect(
    offsets: torch.Tensor,  # [P, 4]
    logits: torch.Tensor,  # [P, C]
    priors: torch.Tensor,  # [P, 4]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns boxes, scores and labels, best first, by the rules of ``plain.detect``; all classes at once."""
    scores, index = torch.softmax(logits, dim=-1)[:, 1:].T.topk(min(400, len(priors)), dim=1)  # [C - 1, K]
    labels = torch.arange(1, logits.shape[1], device=DEVICE)[:, None].expand_as(scores)
    good = scores > 0.01
    scores, labels, boxes = scores[good], labels[good], decode(offsets, priors)[index[good]]
    kept = batched_nms(boxes, scores, labels, 0.45)[:200]
    return boxes[kept].clip(0, 1), scores[kept], labels[kept]


def detect_all(
    offsets: torch.Tensor,  # [B, P, 4]
    logits: torch.Tensor,  # [B, P, C]
    priors: torch.Tensor,  # [P, 4]
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Detects image by image, as torchvision's detectors do."""
    with torch.inference_mode():
        return [detect(*image, priors) for image in zip(offsets, logits, strict=True)]


def wait(_: object) -> None:
    """Waits for the GPU."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def main(arguments: Sequence[str] | None = None, *, needs_gpu: bool = True) -> int:
    """Measures every case; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    if needs_gpu and DEVICE.type != "cuda":
        sys.exit("PyTorch finds no GPU")
    for group in postprocess.groups(options.quick):
        for scene in scenes.SCENES:
            offsets, logits, priors = (torch.from_numpy(x).to(DEVICE) for x in postprocess.inputs(group, scene))
            call = functools.partial(detect_all, offsets, logits, priors)
            found = [[part.cpu().numpy() for part in image] for image in call()]
            images = [plain.Found(*image) for image in found]
            named = {f"{part}{k}": x for k, image in enumerate(images) for part, x in image._asdict().items()}
            rounds = QUICK_ROUNDS if options.quick else ROUNDS
            times = milliseconds({"": Contestant(call, wait, group.batch)}, rounds=rounds)
            named["milliseconds"] = np.array(times[""])
            np.savez(options.folder / f"{group.classes}_{group.batch}_{scene}.npz", **named)
    return 0


if __name__ == "__main__":
    sys.exit(main())
