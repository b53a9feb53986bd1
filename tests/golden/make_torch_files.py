"""Writes torch_zip.pth, torch_legacy.pth, torch_checkpoint.pth and torch_files.safetensors with torch itself.

    python tests/golden/make_torch_files.py      # needs torch and safetensors; made with 2.13.0 and 0.8.0

The last one holds what the first two hold, tensor by tensor, as the package safetensors writes it.
tests/test_readers_torch.py reads them all with our readers.
"""

import argparse
import collections
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

FOLDER = Path(__file__).parent
OLD = {"_use_new_zipfile_serialization": False}


def tensors() -> dict[str, torch.Tensor]:
    base = torch.arange(1, 25, dtype=torch.float32).reshape(4, 6) / 8
    return collections.OrderedDict(
        base=base,
        view=base[1:, ::2],
        transposed=base.t(),
        expanded=base[:1].expand(3, 6),
        channels_last=torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
        half=base.half(),
        bfloat16=base.bfloat16(),
        double=base[0].double(),
        int64=torch.arange(-2, 3),
        int32=torch.arange(-2, 3, dtype=torch.int32),
        int16=torch.arange(-2, 3, dtype=torch.int16),
        int8=torch.arange(-2, 3, dtype=torch.int8),
        uint8=torch.arange(5, dtype=torch.uint8),
        bool=torch.tensor([True, False, True]),
        scalar=torch.tensor(3.5),
        steps=torch.tensor(7),
        empty=torch.zeros(0, 3),
        parameter=torch.nn.Parameter(base[:2].clone()),
        buffer=torch.nn.Buffer(base[2:].clone()),
    )


def checkpoint() -> dict:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
    for index, value in enumerate(network.state_dict().values()):
        value.copy_(torch.arange(value.numel()).reshape(value.shape) + index)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5, momentum=0.9)
    network(torch.ones(1, 1, 2, 2)).sum().backward()
    network.zero_grad(set_to_none=False)
    optimizer.step()
    return {
        "epoch": 3,
        "model": torch.nn.DataParallel(network).state_dict(),
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(lr=0.5, device=torch.device("cuda", 0)),
        "best": np.float64(0.75),
    }


if __name__ == "__main__":
    values = tensors()
    torch.save(values, FOLDER / "torch_zip.pth")
    torch.save(values, FOLDER / "torch_legacy.pth", **OLD)
    torch.save(checkpoint(), FOLDER / "torch_checkpoint.pth", **OLD)
    dense = {name: value.detach().contiguous().clone() for name, value in values.items()}
    safetensors.torch.save_file(dense, FOLDER / "torch_files.safetensors", {"torch": torch.__version__})
