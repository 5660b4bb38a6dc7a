"""Linear layers and activations whose rows do not depend on how many there are."""

import pytest
import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.pytorch_utils import Conv1D

from spillway_engine.hf.invariance import AlignedActivation, PackedLinear, make_row_invariant

_COUNTS = (1, 2, 3, 7, 8, 9, 16, 40, 130)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("inputs", "outputs", "bias"), [(1536, 64, True), (96, 100, False)])
def test_a_packed_layers_rows_keep_their_bits(dtype: torch.dtype, inputs: int, outputs: int, bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(inputs, outputs, bias=bias, dtype=dtype)
    packed = PackedLinear(plain.weight.detach(), plain.bias.detach() if bias else None)
    rows = torch.randn(136, inputs, dtype=dtype)
    with torch.inference_mode():
        whole = packed(rows)
        torch.testing.assert_close(whole, plain(rows))
        for count in _COUNTS:
            assert torch.equal(packed(rows[3 : 3 + count]), whole[3 : 3 + count])
    assert torch.equal(packed.weight, plain.weight)


@pytest.mark.parametrize("name", ["silu", "gelu", "gelu_pytorch_tanh", "gelu_new", "quick_gelu", "relu2"])
@pytest.mark.parametrize("width", [1, 37, 1100])
def test_an_activations_rows_keep_their_bits(name: str, width: int) -> None:
    torch.manual_seed(0)
    aligned = AlignedActivation(ACT2FN[name])
    rows = torch.randn(136, width)
    whole = aligned(rows)
    torch.testing.assert_close(whole, ACT2FN[name](rows))
    for count in _COUNTS:
        assert torch.equal(aligned(rows[3 : 3 + count]), whole[3 : 3 + count])


def test_what_is_replaced_and_what_is_left() -> None:
    class Special(nn.Linear):
        """A subclass may do more than its base."""

    linear = nn.Linear(8, 4)
    model = nn.ModuleDict(
        {
            "linear": linear,
            "transposed": Conv1D(4, 8),
            "activation": nn.SiLU(),
            "narrow": nn.Linear(8, 4, dtype=torch.float16),
            "special": Special(8, 4),
            "norm": nn.LayerNorm(8),
        }
    )
    hidden = torch.randn(3, 8)
    expected = model["transposed"](hidden)
    make_row_invariant(model)
    kinds = {name: type(module).__name__ for name, module in model.items()}
    assert kinds == {
        "linear": "PackedLinear",
        "transposed": "PackedLinear",
        "activation": "AlignedActivation",
        "narrow": "Linear",
        "special": "Special",
        "norm": "LayerNorm",
    }
    torch.testing.assert_close(model["transposed"](hidden), expected)
