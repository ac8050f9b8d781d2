"""torchvision, although the one that pip picks beside a CPU torch was built for CUDA.

Its own operators are missing then, and the import fails at the first it looks up; their names are enough for it.
"""

import torch

_LIBRARY = torch.library.Library("torchvision", "DEF")      # kept: what it declares goes when it goes
for _name in ("nms", "qnms"):
    _LIBRARY.define(f"{_name}(Tensor boxes) -> Tensor")

from torchvision import transforms  # noqa: E402, F401
