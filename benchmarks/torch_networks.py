"""The networks of `benchmarks.pytorch` in PyTorch: WRNs, ResNets and the CNN of `kd.models.cnn`."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


class PreActivated(nn.Module):
    """Block of a WRN: BatchNorm and ReLU before each convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = _conv(inputs, outputs, stride=stride)
        self.conv2 = _conv(outputs, outputs)
        same = inputs == outputs
        self.shortcut = None if same else _conv(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(x))
        kept = x if self.shortcut is None else self.shortcut(y)
        return kept + self.conv2(F.relu(self.norm2(self.conv1(y))))


class Basic(nn.Module):
    """Block of a ResNet: BatchNorm after each convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = _conv(inputs, outputs, stride=stride)
        self.conv2 = _conv(outputs, outputs)
        self.norm1, self.norm2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                _conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class Staged(nn.Module):
    """Three stages of blocks, of which two halve the resolution; a global mean; a linear head."""

    def __init__(self, block: type[nn.Module], widths: Sequence[int], blocks: int, classes: int):
        super().__init__()
        after = block is Basic  # BatchNorm and ReLU follow convolutions, instead of preceding them
        normed = lambda width: [nn.BatchNorm2d(width), nn.ReLU()]
        stem = normed(widths[0]) if after else []
        self.stem = nn.Sequential(_conv(3, widths[0]), *stem)
        layers = []
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            for j in range(blocks):
                stride = 2 if i > 0 and j == 0 else 1
                layers.append(block(inputs if j == 0 else outputs, outputs, stride))
        self.stages = nn.Sequential(*layers)
        self.last = nn.Sequential(*([] if after else normed(widths[-1])))
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.stages(self.stem(x)))
        return self.head(x.mean((2, 3)))


class CNN(nn.Module):
    """`kd.models.cnn.CNN` for images of one channel."""

    def __init__(self, widths: Sequence[int], depth: int, classes: int):
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for i, width in enumerate(widths):
            for j in range(depth):
                stride = 2 if i > 0 and j == 0 else 1
                layers += [_conv(before, width, stride=stride)]
                layers += [nn.BatchNorm2d(width), nn.ReLU()]
                before = width
        self.stages = nn.Sequential(*layers)
        self.head = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(x).mean((2, 3)))


def make(name: str, classes: int) -> nn.Module:
    """`wrn_D_W`, `resnetDx4` or `cnn_A_B_C_depth`, with PyTorch's default initialisation."""
    family, *numbers = name.replace("x", "_").split("_")
    sizes = [int(n) for n in numbers]
    if family == "wrn":
        depth, widen = sizes
        widths = (16, 16 * widen, 32 * widen, 64 * widen)
        return Staged(PreActivated, widths, (depth - 4) // 6, classes)
    if family == "cnn":
        return CNN(sizes[:-1], sizes[-1], classes)
    depth = int(family.removeprefix("resnet"))
    return Staged(Basic, (32, 64, 128, 256), (depth - 2) // 6, classes)


def parameters(net: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(p.numel() for p in net.parameters())


def synchronize(device: torch.device) -> None:
    """Waits until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()
