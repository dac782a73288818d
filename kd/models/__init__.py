"""Student and teacher networks, one file per family; each returns `Outputs(logits, features)`.

Every network is an attribute of this package, imported at first use: `kd.models.CNN`,
`kd.models.resnet8x4`. So are the files: `kd.models.vgg`. Adding a network is adding a file with a
Flax module that has a setting `num_classes`; nothing else needs to be edited.
"""

import importlib
import sys
from typing import Any

from kd import registry


def __getattr__(name: str) -> Any:
    if name in registry.files(__name__):
        return importlib.import_module(f"{__name__}.{name}")
    if not name.startswith("_"):
        networks = registry.exported(__name__)
        if name in networks:
            globals()[name] = networks[name]
            return networks[name]
    this = sys.modules[__name__]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=this)


def __dir__() -> list[str]:
    return sorted({*globals(), *registry.files(__name__), *registry.exported(__name__)})
