"""Writes transformers.npz: losses of transformers by PyTorch, from the formulas of public code.

    python tests/golden/objectives/transformers.py

It needs torch, in an environment of its own; no test runs it. README.md says what is in the file.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

FILE = Path(__file__).with_name("transformers.npz")


def deit(logits, distilled, teacher, label, kind, alpha=0.3, tau=3.0):
    """`DistillationLoss` of facebookresearch/deit, losses.py, with label smoothing 0.1."""
    base = F.cross_entropy(logits, label, label_smoothing=0.1)
    if kind == "soft":
        log_p, log_q = (F.log_softmax(x / tau, dim=1) for x in (distilled, teacher))
        loss = F.kl_div(log_p, log_q, reduction="sum", log_target=True)
        loss = loss * (tau * tau) / distilled.numel()
    else:
        loss = F.cross_entropy(distilled, teacher.argmax(dim=1))
    return base * (1 - alpha) + loss * alpha


def minilm(student, teacher, heads):
    """The relation loss of bloomberg/minilmv2.bb, without a mask, of vectors [b, t, d]."""
    loss = torch.zeros(())
    for s, t in zip(student, teacher, strict=True):
        scores = []
        for x in (s, t):
            b, n, d = x.shape
            x = x.view(b, n, heads, d // heads).permute(0, 2, 1, 3)
            scores.append(x @ x.transpose(-1, -2) / math.sqrt(d // heads))
        log_p, q = F.log_softmax(scores[0], -1), torch.softmax(scores[1], -1)
        loss = loss + F.kl_div(log_p, q, reduction="sum") / (heads * n * b)
    return loss


def tinybert(student, teacher, weight, bias):
    """The loss of general_distill.py of huawei-noah/Pretrained-Language-Model: (hidden states,
    queries, keys) of both networks.
    """
    per_block = len(teacher[1]) // len(student[1])
    scores = lambda q, k: torch.einsum("bthk,bshk->bhts", q, k) / math.sqrt(q.shape[-1])
    loss = torch.zeros(())
    for i, (q, k) in enumerate(zip(*student[1:], strict=True)):
        j = i * per_block + per_block - 1
        loss = loss + F.mse_loss(scores(q, k), scores(teacher[1][j], teacher[2][j]))
    for i, hidden in enumerate(student[0]):
        loss = loss + F.mse_loss(F.linear(hidden, weight, bias), teacher[0][i * per_block])
    return loss


def main():
    random = np.random.default_rng(20261129)
    arrays = {}

    def draw(name, *shape, scale=1.0):
        arrays[name] = (scale * random.normal(size=shape)).astype(np.float32)
        return torch.tensor(arrays[name], requires_grad=True)

    def store(name, loss, *inputs):
        gradients = torch.autograd.grad(loss, inputs)
        arrays[f"{name}.loss"] = loss.detach().numpy()
        arrays[f"{name}.grad"] = np.concatenate([g.numpy().ravel() for g in gradients])

    b, c, t = 5, 7, 6
    logits, distilled, teacher = (draw(n, b, c, scale=2.0) for n in ("logits", "distilled", "deit"))
    arrays["label"] = random.integers(0, c, b)
    label = torch.tensor(arrays["label"])
    for kind in ("soft", "hard"):
        store(f"deit_{kind}", deit(logits, distilled, teacher, label, kind), logits, distilled)
    vectors = {}
    for who, blocks, heads, size in (("student", 2, 2, 6), ("teacher", 4, 2, 9)):
        kinds = ("query", "key", "value")
        for i in range(1, blocks + 1):
            for kind in kinds:
                vectors[who, kind, i] = draw(f"{who}.{kind}{i}", b, t, heads, size)
        for i in range(blocks + 1):
            vectors[who, "tokens", i] = draw(f"{who}.tokens{i}", b, t, heads * size)
    last = lambda who, i: [vectors[who, k, i].flatten(2) for k in ("query", "key", "value")]
    inputs = [vectors["student", k, 2] for k in ("query", "key", "value")]
    store("minilm", minilm(last("student", 2), last("teacher", 4), 3), *inputs)
    of = lambda who, kind, first, blocks: [vectors[who, kind, i] for i in range(first, blocks + 1)]
    networks = [
        [of(who, kind, kind != "tokens", n) for kind in ("tokens", "query", "key")]
        for who, n in (("student", 2), ("teacher", 4))
    ]
    weight, bias = draw("weight", 18, 12), draw("bias", 18)
    store("tinybert", tinybert(*networks, weight, bias), *networks[0][0], *networks[0][1])
    np.savez(FILE, **arrays)


if __name__ == "__main__":
    main()
