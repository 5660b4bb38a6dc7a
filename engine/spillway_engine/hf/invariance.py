"""Row by row the same bits, whatever else is in the batch: the parts of torch's CPU library that need help with that.

Measured with torch 2.13 on AVX-512, two threads:

- `F.linear` in float32 (MKL) rounds a row differently for different numbers of rows, up to 136 rows where sums are
  long; in bfloat16 below 8 rows. oneDNN with its weight packed once does not, from 2 rows on, in either type, and is
  up to 3 times faster at 8 to 32 rows. Fewer rows than 8 are padded.
- `silu` and `gelu` take another path for the last few elements of each thread's share, so a row's bits depend on where
  threads divide the work. Shares of fixed, aligned size do not.

Both are no-ops on other devices, where other libraries have other habits.
"""

from typing import cast

import torch
from torch import nn
from transformers import activations
from transformers.pytorch_utils import Conv1D

from spillway_engine.hf.packing import ROW_MULTIPLE

_SHARE = 32_768
"""Elements below which torch gives elementwise work to one thread (`at::internal::GRAIN_SIZE`)."""
_ALIGNED = 64
"""Elements that the widest vector loop takes at once."""

_PACKED_DTYPES = (torch.float32, torch.bfloat16)


class PackedLinear(nn.Module):
    """A linear layer whose weight lies in oneDNN's own layout."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)  # noqa: SLF001 - torch has no public name
        self.bias = bias

    @property
    def weight(self) -> torch.Tensor:
        """[out_features, in_features], unpacked anew at each call: for models that ask for its type or device."""
        dense: torch.Tensor = self._packed.to_dense()
        return dense

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[..., in_features] to [..., out_features]."""
        rows = hidden.reshape(-1, self.in_features)
        count = rows.shape[0]
        if count < ROW_MULTIPLE:
            rows = nn.functional.pad(rows, (0, 0, 0, ROW_MULTIPLE - count))
        output: torch.Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001 - as above
            rows, self._packed, self.bias, "none", [], ""
        )
        return output[:count].view(*hidden.shape[:-1], self.out_features)


class AlignedActivation(nn.Module):
    """An elementwise function applied in shares that torch divides among threads at aligned places only."""

    def __init__(self, function: nn.Module) -> None:
        super().__init__()
        self.function = function

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Apply the function to each element."""
        flat = hidden.reshape(-1)
        count = flat.shape[0]
        flat = nn.functional.pad(flat, (0, -count % _ALIGNED))
        whole = count - count % (_SHARE * torch.get_num_threads())
        shares = [flat[:whole]] if whole else []
        shares += torch.split(flat[whole:], _SHARE)
        return torch.cat([self.function(share) for share in shares])[:count].view(hidden.shape)


def make_row_invariant(model: nn.Module) -> None:
    """Replace a CPU model's linear layers and activations in place by their row-invariant equals."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            replacement = _replacement(child)
            if replacement is not None:
                setattr(parent, name, replacement)


def _replacement(module: nn.Module) -> nn.Module | None:
    # exactly these classes: what derives from them may do more
    if type(module) in _ELEMENTWISE:
        return AlignedActivation(module)
    if type(module) is nn.Linear:
        weight = module.weight.detach()
    elif type(module) is Conv1D:
        weight = cast("nn.Parameter", module.weight).detach().t().contiguous()
    else:
        return None
    if weight.device.type != "cpu" or weight.dtype not in _PACKED_DTYPES or not torch._C._has_mkldnn:  # noqa: SLF001 - as above
        return None
    bias = cast("nn.Parameter | None", module.bias)
    return PackedLinear(weight, None if bias is None else bias.detach())


_ELEMENTWISE = frozenset(
    {entry[0] if isinstance(entry, tuple) else entry for entry in activations.ACT2CLS.values()} - {nn.PReLU}
)
"""All of transformers' activations but the one that has a weight per channel."""
