"""Which parts of a checkpoint are state dicts: training scripts save them in many places."""

from collections.abc import Iterable, Mapping
from typing import Any

from kd.errors import InputError
from kd.weights.described import Opaque, Tensor

_DEEPEST, _LONGEST = 4, 200
# Usual names of entries that hold weights.
_USUAL = ("model", "state_dict", "net", "model_state_dict", "model_state", "module", "ema")
# Parts of names of entries that hold the state of a training, not weights.
_TRAINING = ("optim", "sched", "scaler", "callback", "loop", "history", "criterion", "rng")


def find(content: Any) -> dict[str, dict[str, Tensor]]:
    """The state dicts of a checkpoint by the entries that hold them, such as "model" or
    "model.state_dict"; "" for one that is the whole checkpoint.

    A path, a date or another text beside the tensors is skipped.

    Raises:
      InputError: there is none.
    """
    if not isinstance(content, dict):
        raise InputError("it contains no dictionary, so no state dict")
    entries: dict[str, dict[str, Tensor]] = {}
    mixed: dict[str, list[Any]] = {}
    seen: set[int] = set()
    level: list[tuple[str, dict]] = [("", content)]
    for _ in range(_DEEPEST):
        below: list[tuple[str, dict]] = []
        for path, entry in level:
            if id(entry) in seen:
                continue
            seen.add(id(entry))
            tensors, others = _divided(entry)
            if tensors and not others:
                entries[path] = tensors
            elif tensors and path:
                mixed[path] = others
            prefix = f"{path}." if path else ""
            below += [
                (prefix + key, value)
                for key, value in entry.items()
                if isinstance(value, dict) and id(value) not in seen and _may_hold_weights(key)
            ]
        level = below
    if not entries:
        entries = _bare_among_others(content, mixed)
    return entries


def _divided(entry: Mapping[Any, Any]) -> tuple[dict[str, Tensor], list[Any]]:
    """The tensors of a dictionary, and the names of what is neither tensor nor skipped."""
    tensors = {k: v for k, v in entry.items() if isinstance(k, str) and isinstance(v, Tensor)}
    skipped = lambda v: v is None or isinstance(v, str) or (isinstance(v, Opaque) and not _lost(v))
    return tensors, [k for k, v in entry.items() if k not in tensors and not skipped(v)]


def _lost(value: Any) -> bool:
    """Whether it is a tensor of a kind that is not supported."""
    return isinstance(value, Opaque) and value.name.startswith("torch._utils._rebuild")


def _may_hold_weights(key: Any) -> bool:
    named = isinstance(key, str) and len(key) <= _LONGEST
    return named and not any(part in key.lower() for part in _TRAINING)


def _bare_among_others(
    content: Mapping[Any, Any], mixed: Mapping[str, list[Any]]
) -> dict[str, dict[str, Tensor]]:
    """The tensors of a checkpoint beside whatever else it holds.

    Raises:
      InputError: there are none, or some would be lost.
    """
    tensors, _ = _divided(content)
    for path, others in mixed.items():
        if tensors and path not in _USUAL:
            continue
        raise InputError(
            f"entries of its state dict {path!r} are not tensors: {few(others)}. Save only the "
            "state dict, by torch.save(model.state_dict(), path)"
        )
    lost = [key for key, value in content.items() if _lost(value)]
    if tensors and not lost:
        return {"": tensors}
    if lost:
        raise InputError(f"entries are tensors of a kind that is not supported: {few(lost)}")
    if not content or any(content.get(key) == {} for key in _USUAL):
        raise InputError("its state dict is empty")
    raise InputError(
        f"it contains no state dict, neither bare nor in an entry; its entries are {few(content)}"
    )


def choose(entries: Iterable[str], entry: str | None) -> str:
    """The entry that is asked for, or the only one.

    Args:
      entries: that hold state dicts.
      entry: one of them; levels may be divided by `.`, `/` or ` -> `. None takes the only one.

    Raises:
      InputError: no such entry, or several.
    """
    entries = list(entries)
    if entry is not None:
        name = entry.replace(" ", "").replace("->", ".").replace("/", ".")
        if name not in entries:
            raise InputError(f"it has no state dict in --entry {entry!r}, but in {few(entries)}")
        return name
    if len(entries) > 1:
        raise InputError(f"it has several state dicts: {few(entries)}. Choose one by --entry NAME")
    return entries[0]


def few(names: Iterable[Any]) -> str:
    """The first of the names, as code writes them."""
    names = [repr(name)[:60] for name in names]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
