"""The bias itself: the number that `bias=...` adds to the logits of some classes."""

from kd.tables.metric import PerNetwork

metric = PerNetwork(
    lambda network: network.bias, unit="shift of the logit", digits=2, required=("bias",)
)
