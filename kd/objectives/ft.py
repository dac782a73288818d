"""Factor transfer (FT): a paraphraser compresses the teacher's last map to factors."""

from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.features import BatchNorm, Conv, Name, as_map, last, same_size
from kd.objectives.at import attention
from kd.objectives.fitnet import hint
from kd.ranges import Range
from kd.types import View


def factor_transfer(
    student: Float[Array, "b h w d"], teacher: Float[Array, "b h2 w2 d2"]
) -> Float[Array, " b"]:
    """Mean over places of |attention of the student's factor - attention of the teacher's|, [b].

    The larger factor is pooled to the size of the smaller; `attention` is that of `kd.losses`.

    Kim, Park, Kwak. Paraphrasing Complex Network: Network Compression via Factor Transfer. NeurIPS
    2018. https://arxiv.org/abs/1802.04977, L_FT with p = 1. The tables take the mean of squares
    over channels first, which the paper does not.
    """
    student, teacher = same_size(student, teacher)
    return jnp.mean(jnp.abs(attention(student) - attention(teacher)), axis=-1)


class _Convs(nn.Module):
    """3 x 3 convolutions, each with leaky ReLU (0.1)."""

    widths: tuple[int, ...]
    norm: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w d"]) -> Float[Array, "b h w e"]:
        for i, width in enumerate(self.widths, start=1):
            x = Conv(width, (3, 3), name=f"conv{i}")(x)
            if self.norm:
                x = BatchNorm(name=f"norm{i}")(x)
            x = nn.leaky_relu(x, 0.1)
        return x


def _encoder(width: int, rate: float) -> _Convs:
    if int(rate * width) < 1:
        raise InputError(
            f"rate = {rate:zg} of the teacher's {width} channels leaves none. Take 1 / {width} or "
            "more."
        )
    return _Convs((width, int(rate * width), int(rate * width)), parent=None)


class Paraphraser(nn.Module):
    """Mean squared error of an autoencoder of the teacher's last map: the first of two runs.

    Kim et al. 2018, L_rec. The student learns nothing here. The collection `frozen` keeps a copy of
    the encoder (as it was before the last update). The second run, `ft.FT` under the same name of
    term, takes it over when it starts from this one (`config.init`); in that collection it is out
    of reach of weight decay.

    Attributes:
      feature: pair of maps; None: the last stage of each network.
      rate: channels of the factor over those of the teacher's map.
    """

    feature: Name | None = None
    rate: Annotated[float, Range(above=0, most=16)] = 0.5

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        teacher = as_map(last(view, self.feature)[1])
        width = teacher.shape[-1]
        encoder = _encoder(width, self.rate)
        weights = self.param("encoder", lambda key: encoder.init(key, teacher)["params"])
        frozen = self.variable("frozen", "encoder", lambda: weights)
        if not self.is_initializing():
            frozen.value = jax.lax.stop_gradient(weights)
        factor = jnp.asarray(encoder.apply({"params": weights}, teacher))
        decoder = _Convs((int(self.rate * width), width, width), name="decoder")
        return hint(decoder(factor), teacher)


class FT(nn.Module):
    """`factor_transfer` from a frozen paraphraser to a trained translator: the second of two runs.

    The translator, three convolutions with BatchNorm, turns the student's map into a factor. The
    run must start from a run of `ft.Paraphraser` under the same name of term (`config.init`): the
    factors of an untrained paraphraser are a random projection.

    Attributes:
      feature: pair of maps; None: the last stage of each network.
      rate: channels of the factor over those of the teacher's map.
    """

    feature: Name | None = None
    rate: Annotated[float, Range(above=0, most=16)] = 0.5

    needs = ("init",)

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        student, teacher = map(as_map, last(view, self.feature))
        encoder = _encoder(teacher.shape[-1], self.rate)
        frozen = self.variable(
            "frozen", "encoder", lambda: encoder.init(self.make_rng("params"), teacher)["params"]
        )
        factor = jnp.asarray(encoder.apply({"params": frozen.value}, teacher))
        widths = (student.shape[-1], factor.shape[-1], factor.shape[-1])
        translated = _Convs(widths, norm=True, name="translator")(student)
        return factor_transfer(translated, factor)
