"""Rotary position embedding: inverse frequencies and attention scaling, bit for bit as transformers computes them.

Sources: Su et al. 2021 (`default`); linear interpolation (Chen et al. 2023); NTK-aware `dynamic`; `yarn` (Peng et al.
2023); `llama3` (Llama 3.1's release). The arithmetic follows `transformers.modeling_rope_utils` operation by
operation, because a frequency that differs in its last bit differs by whole radians at the end of a long context.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from spillway_engine.errors import InvalidCheckpointError, UnsupportedModelError
from spillway_text.fields import Fields


@dataclass(frozen=True, slots=True, eq=False)
class Rope:
    """What a decoder needs to rotate queries and keys."""

    inv_freq: torch.Tensor
    """[head_dim / 2] float32: radians per position of each pair of dimensions."""
    attention_scaling: float
    """Both cosine and sine are multiplied by it (1 except for `yarn`)."""


@dataclass(frozen=True, slots=True)
class _Geometry:
    theta: float
    head_dim: int
    max_position_embeddings: int
    original_max_position_embeddings: int
    """The context length of pretraining, before any scaling."""


def read_rope(config: Fields, *, head_dim: int, max_position_embeddings: int, default_theta: float = 10_000.0) -> Rope:
    """Read both spellings: `rope_parameters` (transformers 5) and `rope_theta` with `rope_scaling` (before).

    Raises `UnsupportedModelError` naming a kind of scaling that is not implemented.
    """
    parameters = config.nested("rope_scaling") or config.nested("rope_parameters") or Fields(config.where, {})
    theta = parameters.optional("rope_theta", float) or config.get("rope_theta", float, default_theta)
    if theta <= 1.0:
        raise InvalidCheckpointError(f"{parameters.where}: rope_theta is {theta}; a number above 1 was expected")
    partial = parameters.optional("partial_rotary_factor", float) or config.get("partial_rotary_factor", float, 1.0)
    if partial != 1.0:
        raise UnsupportedModelError(f"{config.where}: partial_rotary_factor {partial} is not supported by this decoder")
    kind = parameters.optional("rope_type", str) or parameters.optional("type", str) or "default"
    compute = _KINDS.get(kind)
    if compute is None:
        supported = ", ".join(_KINDS)
        raise UnsupportedModelError(
            f"{parameters.where}: rope type {kind!r} is not supported by this decoder; supported: {supported}"
        )
    # beside the rope parameters it overrides the one among them, as transformers has it
    original = config.optional("original_max_position_embeddings", int) or parameters.positive(
        "original_max_position_embeddings", max_position_embeddings
    )
    return compute(parameters, _Geometry(theta, head_dim, max_position_embeddings, original))


def _plain(geometry: _Geometry) -> torch.Tensor:
    exponents = torch.arange(0, geometry.head_dim, 2, dtype=torch.int64).to(torch.float32) / geometry.head_dim
    return 1.0 / (geometry.theta**exponents)


def _default(_: Fields, geometry: _Geometry) -> Rope:
    return Rope(_plain(geometry), 1.0)


def _dynamic(parameters: Fields, geometry: _Geometry) -> Rope:
    # NTK scaling grows the base only beyond max_position_embeddings, and no request is longer than that here: a
    # base that depended on the longest neighbour in the batch would change everybody's tokens
    _factor(parameters)
    return Rope(_plain(geometry), 1.0)


def _linear(parameters: Fields, geometry: _Geometry) -> Rope:
    return Rope(_plain(geometry) / _factor(parameters), 1.0)


def _llama3(parameters: Fields, geometry: _Geometry) -> Rope:
    factor = _factor(parameters)
    low, high = parameters.get("low_freq_factor", float), parameters.get("high_freq_factor", float)
    if high <= low:
        raise InvalidCheckpointError(
            f"{parameters.where}: high_freq_factor is {high}; a number above low_freq_factor ({low}) was expected"
        )
    original = geometry.original_max_position_embeddings
    inv_freq = _plain(geometry)
    wavelength = 2 * math.pi / inv_freq
    scaled = torch.where(wavelength > original / low, inv_freq / factor, inv_freq)
    smooth = (original / wavelength - low) / (high - low)
    smoothed = (1 - smooth) * scaled / factor + smooth * scaled
    medium = ~(wavelength < original / high) * ~(wavelength > original / low)
    return Rope(torch.where(medium, smoothed, scaled), 1.0)


def _yarn(parameters: Fields, geometry: _Geometry) -> Rope:
    original = geometry.original_max_position_embeddings
    factor = parameters.optional("factor", float) or geometry.max_position_embeddings / original
    fast = parameters.optional("beta_fast", float) or 32
    slow = parameters.optional("beta_slow", float) or 1
    dim, theta = geometry.head_dim, geometry.theta

    def correction(rotations: float) -> float:
        return (dim * math.log(original / (rotations * 2 * math.pi))) / (2 * math.log(theta))

    low, high = correction(fast), correction(slow)
    if parameters.raw("truncate") is not False:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    span = (high - low) or 0.001  # the two bounds can meet in a narrow head
    pos_freqs = theta ** (torch.arange(0, dim, 2).to(torch.float32) / dim)
    extrapolated, interpolated = 1.0 / pos_freqs, 1.0 / (factor * pos_freqs)
    keep = 1 - torch.clamp((torch.arange(dim // 2, dtype=torch.float32) - low) / span, 0, 1)
    return Rope(interpolated * (1 - keep) + extrapolated * keep, _yarn_scaling(parameters, factor))


def _yarn_scaling(parameters: Fields, factor: float) -> float:
    given = parameters.optional("attention_factor", float)
    if given is not None:
        return given

    def mscale(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    numerator, denominator = parameters.optional("mscale", float), parameters.optional("mscale_all_dim", float)
    if numerator and denominator:
        return mscale(numerator) / mscale(denominator)
    return mscale(1)


def _factor(parameters: Fields) -> float:
    factor = parameters.get("factor", float)
    if factor < 1.0:
        raise InvalidCheckpointError(f"{parameters.where}: factor is {factor}; a number of at least 1 was expected")
    return factor


_KINDS: dict[str, Callable[[Fields, _Geometry], Rope]] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _dynamic,
    "llama3": _llama3,
    "yarn": _yarn,
}
