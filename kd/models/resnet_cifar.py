"""Residual networks for 32 x 32 images, those of the distillation tables on CIFAR-100."""

from functools import partial

from kd.models.residual import BasicBlock, Bottleneck, ResNet


def _plain(depth: int, stem: int, *widths: int) -> partial[ResNet]:
    """He et al., section 4.2: three stages of (depth - 2) / 6 blocks; shortcuts are option B."""
    return partial(ResNet, BasicBlock, ((depth - 2) // 6,) * 3, widths, stem, False)


resnet8 = _plain(8, 16, 16, 32, 64)
resnet14 = _plain(14, 16, 16, 32, 64)
resnet20 = _plain(20, 16, 16, 32, 64)
resnet32 = _plain(32, 16, 16, 32, 64)
resnet44 = _plain(44, 16, 16, 32, 64)
resnet56 = _plain(56, 16, 16, 32, 64)
resnet110 = _plain(110, 16, 16, 32, 64)

# The stem has half the width of the first stage, whose first block therefore projects its shortcut.
resnet8x4 = _plain(8, 32, 64, 128, 256)
resnet32x4 = _plain(32, 32, 64, 128, 256)

ResNet50 = partial(ResNet, Bottleneck, (3, 4, 6, 3), (64, 128, 256, 512), 64, False)

_COMMON = ((r"layer(\d)_(\d+)", r"layer\1.\2"),)
TORCH_NAMES = (
    (
        *_COMMON,
        (r"downsample_conv", "downsample.0"),
        (r"downsample_bn", "downsample.1"),
        (r"^head", "fc"),
    ),
    (
        *_COMMON,
        (r"downsample_conv", "shortcut.0"),
        (r"downsample_bn", "shortcut.1"),
        (r"^head", "linear"),
    ),
)
