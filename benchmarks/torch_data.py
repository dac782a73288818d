"""The DataLoader of `benchmarks.pytorch`: random crops and flips of PIL images."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from benchmarks.steps import Problem


def batches(problem: Problem) -> Iterator[Any]:
    """Batches from a DataLoader. Has workers only with a GPU: they would take the step's cores."""
    height, width, channels = problem.shape
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 256, (512, height, width, channels), np.uint8)
    pictures = [Image.fromarray(x.squeeze(-1) if channels == 1 else x) for x in raw]
    change = transforms.Compose(
        [
            transforms.RandomCrop((height, width), padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * channels, (0.25,) * channels),
        ]
    )

    class Pictures(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return problem.examples

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return change(pictures[index % 512]), index % problem.num_classes

    gpu = torch.cuda.is_available()
    loader = torch.utils.data.DataLoader(
        Pictures(), problem.batch_size, shuffle=True, num_workers=8 if gpu else 0
    )
    while True:
        yield from loader
