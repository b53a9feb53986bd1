"""The same questions asked of torchvision's ssd300_vgg16: the same network in PyTorch, by other people.

It is given what makes it fast without changing it: channels last, cuDNN's autotuner, TF32 where our
float32 is TF32, autocast to bfloat16 where ours is bfloat16. Boxes, scores and losses stay float32
on both sides. It runs eagerly, as it is used. Imported only in the process that asks it.
"""

import contextlib
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from benchmarks import subjects
from benchmarks.subjects import Case, Subject

try:
    import torchvision  # pyright: ignore[reportMissingImports]
except RuntimeError:  # its operators do not fit this PyTorch: a build for CUDA beside one for CPUs
    # Declared, they let it be imported; the network does without them, and detection fails and says so.
    OPERATORS = torch.library.Library("torchvision", "DEF")  # lives as long as it is referred to
    for name in ("nms", "qnms"):
        OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision  # pyright: ignore[reportMissingImports]

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Float32Head(torch.nn.Module):
    """Hands the predictions on in float32 whatever the network computes in."""

    def __init__(self, head: torch.nn.Module):
        super().__init__()
        self.head = head

    def forward(self, features: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: value.float() for name, value in self.head(features).items()}


def device() -> str:
    """Returns where PyTorch runs, in JAX's words."""
    return "gpu" if DEVICE.type == "cuda" else "cpu"


def _network() -> Any:
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    torch.manual_seed(0)
    network = torchvision.models.detection.ssd300_vgg16(
        weights=None, weights_backbone=None, num_classes=subjects.CLASSES
    )
    network.head = Float32Head(network.head)
    return network.to(DEVICE, memory_format=torch.channels_last)


def _autocast(case: Case) -> contextlib.AbstractContextManager:
    if case.precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(DEVICE.type, dtype=torch.bfloat16)


def _wait(result: Any) -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def _on_host(tensors: Any) -> list[np.ndarray]:
    return [tensor.detach().cpu().numpy() for tensor in tensors]


def _photographs(case: Case) -> list[np.ndarray]:  # uint8 [h, w, 3] each
    batch = subjects.random_batch(case)
    return [canvas[:height, :width] for canvas, (height, width) in zip(batch.canvas, batch.size, strict=True)]


def _planes(photograph: torch.Tensor) -> torch.Tensor:  # uint8 [h, w, 3] -> float [3, h, w] in [0, 1]
    return photograph.permute(2, 0, 1).float() / 255


def forward(case: Case) -> Subject:
    """Times backbone and heads on normalized images."""
    network = _network().eval()
    shape = (case.batch, 3, *subjects.image_size(case.network))
    images = torch.randn(shape, device=DEVICE).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def call() -> dict[str, torch.Tensor]:
        with _autocast(case):
            return network.head(list(network.backbone(images).values()))

    return Subject(call, _wait, lambda heads: _on_host(heads.values()))


def train_step(case: Case) -> Subject:
    """Times resize, matching, forward, mining, loss, backward and update.

    There is no augmentation in it: torchvision's recipe augments on the host, image by image.
    """
    network = _network().train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6, momentum=0.9, weight_decay=5e-4)
    batch = subjects.random_batch(case)
    photographs = [torch.from_numpy(image).to(DEVICE) for image in _photographs(case)]
    targets = []
    for boxes, labels, (height, width) in zip(batch.boxes, batch.labels, batch.size, strict=True):
        pixels = boxes[labels > 0] * np.array([width, height, width, height], np.float32)
        targets.append({"boxes": torch.from_numpy(pixels).to(DEVICE), "labels": torch.from_numpy(labels[labels > 0])})
        targets[-1]["labels"] = targets[-1]["labels"].long().to(DEVICE)

    def call() -> torch.Tensor:
        images = [_planes(photograph) for photograph in photographs]
        with _autocast(case):
            loss = torch.stack(list(network(images, targets).values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    return Subject(call, _wait, lambda loss: _on_host([loss]))


def detect_images(case: Case) -> Subject:
    """Times image arrays in, detections in pixels out."""
    network = _network().eval()
    photographs = _photographs(case)

    @torch.inference_mode()
    def call() -> list[dict[str, np.ndarray]]:
        images = [_planes(torch.from_numpy(photograph).to(DEVICE)) for photograph in photographs]
        with _autocast(case):
            found = network(images)
        return [{name: value.cpu().numpy() for name, value in image.items()} for image in found]

    def detections(bias: float) -> float:
        with torch.no_grad():
            for layer, start in zip(layers, before, strict=True):
                layer.bias.copy_(start).view(-1, subjects.CLASSES)[:, 0].add_(bias)
        return sum(len(image["labels"]) for image in call()) / case.batch

    layers = list(network.head.head.classification_head.module_list)
    before = [layer.bias.detach().clone() for layer in layers]
    bias = subjects.background_bias(detections) if case.scene == "sparse" else 0.0
    details = {"detections_per_image": detections(bias), "background_bias": bias}
    return Subject(
        call,
        wait=lambda found: found,  # it is on the host already
        values=lambda found: [array for image in found for array in (image["boxes"], image["scores"])],
        details=details,
    )


QUESTIONS = {"forward": forward, "train step": train_step, "detect": detect_images}
