"""Residual networks for ImageNet, as in torchvision: a bottleneck has its stride on the 3 x 3
convolution (v1.5).
"""

from functools import partial

from kd.models.residual import BasicBlock, Bottleneck, ResNet


def _imagenet(block: type[BasicBlock] | type[Bottleneck], *blocks: int) -> partial[ResNet]:
    """He et al., table 1."""
    widths = (64, 128, 256, 512)
    return partial(ResNet, block, blocks, widths, 64, True, num_classes=1000)


resnet18 = _imagenet(BasicBlock, 2, 2, 2, 2)
resnet34 = _imagenet(BasicBlock, 3, 4, 6, 3)
resnet50 = _imagenet(Bottleneck, 3, 4, 6, 3)

TORCH_NAMES = (
    (
        (r"^layer(\d)_(\d+)", r"layer\1.\2"),
        (r"downsample_conv", "downsample.0"),
        (r"downsample_bn", "downsample.1"),
        (r"^head", "fc"),
    ),
)
