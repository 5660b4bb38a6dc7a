"""Matrix products on the device, and what they leave for whoever reads them next."""

from dataclasses import dataclass

import torch

from spillway_engine.cuda.kernels.linear import multiply, multiply_parts
from spillway_engine.cuda.tiles import BAND, FILL, ProductTiles, Tiles, num_parts, part_depth

MOST_ROWS_IN_PARTS = 256
"""Above, the sums of all parts would be more to write and read than the weights."""


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """The rows of a product: rounded ones, or the float32 sums of each part, still to be added up."""

    source: torch.Tensor
    """[rows, outputs], or [parts, rows, outputs]."""
    bias: torch.Tensor | None
    parts: int
    """0: `source` is whole, with its bias."""
    part_stride: int


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """A weight [outputs, inputs], its bias, and how its inputs are cut."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    tiles: Tiles
    parts: int
    part: int
    """Inputs of a part."""

    @classmethod
    def of(cls, weight: torch.Tensor, bias: torch.Tensor | None, tiles: Tiles) -> "Linear":
        """Cut a weight by its shape."""
        outputs, inputs = weight.shape
        deepest = tiles.few if tiles.few.depth >= tiles.many.depth else tiles.many
        parts = num_parts(outputs, inputs, tiles.few)
        part = part_depth(inputs, parts, deepest)
        return cls(weight, bias, tiles, -(-inputs // part), part)

    @property
    def outputs(self) -> int:
        """Columns of a product."""
        return self.weight.shape[0]

    def in_parts(self, rows: int) -> bool:
        """Whether a product of so many rows is left in parts. It makes the same bits either way."""
        few = self.tiles.few
        programs = -(-rows // few.rows) * -(-self.outputs // few.outputs)
        return self.parts > 1 and rows <= MOST_ROWS_IN_PARTS and programs < FILL

    def part_floats(self, most_rows: int) -> int:
        """Floats that the parts of a product of at most so many rows can take."""
        sizes = (rows for rows in range(1, min(most_rows, MOST_ROWS_IN_PARTS) + 1) if self.in_parts(rows))
        return max((self.parts * rows * self.outputs for rows in sizes), default=0)

    def __call__(self, left: torch.Tensor, rows: int, out: torch.Tensor, parts: torch.Tensor) -> Product:
        """Multiply the first `rows` rows of `left` by the weight, into `out` or, in parts, into `parts` (flat)."""
        if not self.in_parts(rows):
            self.into(left, rows, out)
            return Product(out, None, 0, 0)
        outputs, inputs = self.weight.shape
        few = self.tiles.few
        stride = rows * outputs
        grid = (-(-outputs // few.outputs), -(-rows // few.rows), self.parts)
        multiply_parts[grid](
            parts, left, self.weight, rows, outputs, inputs, self.part, left.stride(0), stride,
            ROWS=few.rows, OUTPUTS=few.outputs, DEPTH=few.depth, EVEN=inputs % few.depth == 0,
            PRECISION=precision(left.dtype), num_warps=few.warps, num_stages=few.stages, enable_fp_fusion=False,
        )  # fmt: skip
        return Product(parts, self.bias, self.parts, stride)

    def into(self, left: torch.Tensor, rows: int, out: torch.Tensor) -> None:
        """Multiply the first `rows` rows of `left` into `out`, rounded to its type, with the bias."""
        outputs, inputs = self.weight.shape
        tiles: ProductTiles = self.tiles.few if rows <= self.tiles.few.rows else self.tiles.many
        grid = (-(-rows // tiles.rows) * -(-outputs // tiles.outputs),)
        multiply[grid](
            out, left, self.weight, self.bias, rows, outputs, inputs, self.part, left.stride(0), out.stride(0),
            ROWS=tiles.rows, OUTPUTS=tiles.outputs, DEPTH=tiles.depth, BAND=BAND, EVEN=inputs % tiles.depth == 0,
            HAS_BIAS=self.bias is not None, PRECISION=precision(left.dtype), num_warps=tiles.warps,
            num_stages=tiles.stages, enable_fp_fusion=False,
        )  # fmt: skip


class LibraryLinear(Linear):
    """The same through the vendor's library: faster where it is, and its bits may depend on the number of rows."""

    def in_parts(self, rows: int) -> bool:
        """Never."""
        return False

    def into(self, left: torch.Tensor, rows: int, out: torch.Tensor) -> None:
        """Multiply the first `rows` rows of `left` into `out`."""
        out[:rows].copy_(torch.nn.functional.linear(left[:rows], self.weight, self.bias))


def precision(dtype: torch.dtype) -> str:
    """Return how products of this type are made: float32 is not cut to fewer bits."""
    return "ieee" if dtype is torch.float32 else "tf32"
