"""Frozen linear layers held in 4 or 8 bits: made whole for each product, forward and backward, and then dropped.

``nf4``: 4-bit NormalFloat (Dettmers et al. 2023, QLoRA): sixteen values at quantiles of a normal distribution, two to a
byte, the first in the upper half, with the largest magnitude of each 64 weights in fp32: 4.5 bits a weight. Bytes and
scales are those of bitsandbytes without its second quantisation. ``int8``: whole numbers from -127 to 127 with one fp32
scale an output row. Plain torch, so it runs where torch runs, or bitsandbytes' kernel where that is installed;
products are those of the compute type, not of integers. Knows no adapter and no loss.

Shapes: N outputs, K inputs, P bytes, S scales.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feinschliff.models import nf4_kernel
from feinschliff.models.fused import frozen_linear

Kind = Literal["int8", "nf4"]
NF4 = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
"""The values of appendix E of the paper."""
BLOCK = 64
"""Weights that share a scale in nf4, in the order in which they lie."""
LARGEST_INT8 = 127
CHUNK, GPU_CHUNK = 2**18, 2**24
"""Weights that are made whole at once: what is needed besides the result stays small, and GPUs are kept busy."""


class Packed(NamedTuple):
    """A matrix in few bits."""

    codes: Tensor
    """nf4: [P] uint8, each two weights; int8: [N, K]."""
    scales: Tensor
    """fp32: nf4 [S], int8 [N]."""


def pack_nf4(weight_NK: Tensor) -> Packed:
    """Each weight by the nearest of the sixteen values, times its block's largest magnitude.

    A last block that is not full is filled with zeros, which come back as zeros.
    """
    flat = weight_NK.detach().reshape(-1).float()
    blocks = F.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
    scales = blocks.abs().amax(1)
    values = torch.tensor(NF4, device=flat.device)
    between = (values[:-1] + values[1:]) / 2
    scaled = blocks * (1.0 / scales.clamp(min=1e-38))[:, None]
    codes = torch.bucketize(scaled.view(-1), between, out_int32=True).to(torch.uint8)
    return Packed(codes[::2] << 4 | codes[1::2], scales)


def unpack_nf4(packed: Packed, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """The matrix [N, K] of :func:`pack_nf4`, computed in fp32 and rounded once."""
    by = nf4_kernel.kernel(packed.codes.device.type, plain_nf4).unpack or plain_nf4
    return by(packed.codes, packed.scales, BLOCK, shape, dtype)


def plain_nf4(codes: Tensor, scales: Tensor, block: int, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """The same in torch's own operations; ``block`` weights share a scale."""
    count, device, chunk = shape[0] * shape[1], codes.device, _chunk(codes)
    values = torch.tensor(NF4, device=device)
    pairs = torch.stack([values.repeat_interleave(16), values.repeat(16)], 1)  # [256, 2]: both weights of each byte
    out = torch.empty(2 * len(codes), dtype=dtype, device=device)
    for begin in range(0, len(out), chunk):
        end = min(begin + chunk, len(out))
        part = F.embedding(codes[begin // 2 : end // 2].int(), pairs).view(-1, block)
        out[begin:end] = part.mul_(scales[begin // block : end // block, None]).view(-1)
    return out[:count].view(shape)


def _chunk(codes: Tensor) -> int:
    return CHUNK if codes.device.type == "cpu" else GPU_CHUNK


def pack_int8(weight_NK: Tensor) -> Packed:
    """Each weight as a whole number of its row's largest magnitude / 127."""
    wide = weight_NK.detach().float()
    scales = wide.abs().amax(1) / LARGEST_INT8
    scaled = wide / scales.clamp(min=1e-38)[:, None]
    return Packed(scaled.round_().clamp_(-LARGEST_INT8, LARGEST_INT8).to(torch.int8), scales)


def unpack_int8(packed: Packed, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """The matrix [N, K] of :func:`pack_int8`, computed in fp32 and rounded once."""
    out = torch.empty(shape, dtype=dtype, device=packed.codes.device)
    rows = max(1, _chunk(packed.codes) // max(1, shape[1]))
    for begin in range(0, shape[0], rows):
        part = slice(begin, begin + rows)
        out[part] = packed.codes[part].float().mul_(packed.scales[part, None])
    return out


PACK: dict[Kind, Callable[[Tensor], Packed]] = {"int8": pack_int8, "nf4": pack_nf4}
UNPACK: dict[Kind, Callable[[Packed, tuple[int, int], torch.dtype], Tensor]] = {"int8": unpack_int8, "nf4": unpack_nf4}


class QuantisedLinear(nn.Linear):
    """In the place of a frozen ``nn.Linear``: y = W x + b with W in few bits.

    A linear layer to whoever looks for one, without a parameter for its weights: casts, optimizers and checkpoints pass
    them by. The bias stays a parameter.
    """

    codes: Tensor
    scales: Tensor

    def __init__(self, linear: nn.Linear, kind: Kind) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.kind = linear.in_features, linear.out_features, kind
        packed = PACK[kind](linear.weight)
        self.register_buffer("codes", packed.codes, persistent=False)
        self.register_buffer("scales", packed.scales, persistent=False)
        self.bias = linear.bias

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """[N, K], made anew each time it is asked for; in the type of the bias, or fp32."""
        return self.whole(torch.float32 if self.bias is None else self.bias.dtype)

    @property
    def num_weights(self) -> int:
        """N x K."""
        return self.out_features * self.in_features

    @property
    def num_bytes(self) -> int:
        """Of codes and scales."""
        return sum(part.numel() * part.element_size() for part in (self.codes, self.scales))

    @torch.no_grad()
    def whole(self, dtype: torch.dtype) -> Tensor:
        """[N, K] in ``dtype``."""
        shape = (self.out_features, self.in_features)
        return UNPACK[self.kind](Packed(self.codes, self.scales), shape, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """[..., K] to [..., N] in the type of ``input``."""
        return frozen_linear(input, self, self.bias)


@dataclass(frozen=True, slots=True)
class Held:
    """What became of a network's linear layers."""

    layers: int
    weights: int
    num_bytes: int
    """Of codes and scales."""
    relative_error: float
    """|W - W'| / |W| (root of summed squares), the mean over layers."""


def nf4_made_whole_by(device: torch.device) -> str:
    """A sentence that says what makes 4-bit weights whole on a device, and why."""
    return nf4_kernel.kernel(device.type, plain_nf4).sentence


@torch.no_grad()
def quantise(network: Any, kind: Kind) -> Held:
    """Put a :class:`QuantisedLinear` in the place of each plain linear layer; the weights it had are let go."""
    errors, held = [], []
    names = [name for name, part in network.named_modules() if type(part) is nn.Linear]  # layers themselves can go
    for name in names:
        above, _, own = name.rpartition(".")
        parent = network.get_submodule(above)
        linear = parent.get_submodule(own)
        layer = QuantisedLinear(linear, kind)
        size = float(linear.weight.norm())
        errors.append(float((linear.weight - layer.whole(torch.float32)).norm()) / size if size else 0.0)
        held.append(layer)
        setattr(parent, own, layer)
    return Held(
        layers=len(held),
        weights=sum(layer.num_weights for layer in held),
        num_bytes=sum(layer.num_bytes for layer in held),
        relative_error=sum(errors) / max(1, len(errors)),
    )


def quantised_layers(network: nn.Module) -> list[QuantisedLinear]:
    """All of a network."""
    return [part for part in network.modules() if isinstance(part, QuantisedLinear)]
