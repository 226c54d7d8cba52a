"""Forms that a graph runs fast in, of what PyTorch trains: convolutions as products, complex numbers as pairs."""

import torch
from torch import Tensor, nn

LONGEST_KERNEL = 8  # each tap is an operation of its own


class ConvolutionAsProduct(nn.Module):
    """A convolution over time as one product of matrices, the same to rounding.

    Streams give a convolution one to a few steps at a time. ONNX Runtime then takes two to three times as long for it
    as for the product (two steps of `dnn_fft` at 48 kHz: 2.2 ms against 0.8 ms).
    """

    def __init__(self, convolution: nn.Conv1d) -> None:
        super().__init__()
        self.kernel_size, self.stride = convolution.kernel_size[0], convolution.stride[0]
        self.dilation = convolution.dilation[0]
        # Steps are the outer axis of what is multiplied, as they lie in memory.
        weight = convolution.weight.detach().permute(2, 1, 0).flatten(0, 1).contiguous()
        self.register_buffer("weight", weight)
        assert convolution.bias is not None
        self.register_buffer("bias", convolution.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(batch, channels, steps)``."""
        steps = (x.shape[-1] - (self.kernel_size - 1) * self.dilation - 1) // self.stride + 1
        channels_last = x.transpose(1, 2)
        span = (steps - 1) * self.stride + 1
        starts = range(0, self.kernel_size * self.dilation, self.dilation)
        taps = torch.cat([channels_last[:, start : start + span : self.stride] for start in starts], dim=-1)
        return (taps @ self.get_buffer("weight") + self.get_buffer("bias")).transpose(1, 2)


def make_convolutions_products(network: nn.Module) -> None:
    """Replace a network's plain, short convolutions."""
    for module in network.modules():
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv1d) and _is_convertible(child):
                setattr(module, name, ConvolutionAsProduct(child))


def _is_convertible(convolution: nn.Conv1d) -> bool:
    plain = convolution.groups == 1 and convolution.padding == (0,) and convolution.bias is not None
    return plain and convolution.kernel_size[0] <= LONGEST_KERNEL


class ComplexPair:
    """Complex numbers as a real tensor ``(..., 2)``, with what magnitude models do to spectra: sums and real factors.

    The exporter writes every real factor as a complex one: three times as many operations, each too small to be worth
    its start. A product of two complex tensors is not offered: a model that needs one fails at export.
    """

    def __init__(self, parts: Tensor) -> None:
        self.parts = parts

    def abs(self) -> Tensor:
        """Return the magnitudes."""
        return torch.linalg.vector_norm(self.parts, dim=-1)

    def __add__(self, other: "ComplexPair") -> "ComplexPair":
        return ComplexPair(self.parts + other.parts)

    def __mul__(self, factor: Tensor | float) -> "ComplexPair":
        if isinstance(factor, ComplexPair):
            return NotImplemented
        return ComplexPair(self.parts * (factor[..., None] if isinstance(factor, Tensor) else factor))

    __rmul__ = __mul__

    def __truediv__(self, divisor: Tensor) -> "ComplexPair":
        return ComplexPair(self.parts / divisor[..., None])
