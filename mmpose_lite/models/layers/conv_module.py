"""Convolution, normalisation, activation: with the keys `conv.*` and `bn.*` of OpenMMLab's state dicts."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from mmpose_lite.models.layers.norm import build_norm_layer

# name -> what makes the activation of C channels
_ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    'relu': lambda channels: nn.ReLU(inplace=True),
    'relu6': lambda channels: nn.ReLU6(inplace=True),
    'silu': lambda channels: nn.SiLU(inplace=True),
    'elu': lambda channels: nn.ELU(inplace=True),
    'prelu': nn.PReLU,
}


class ConvModule(nn.Module):
    """Convolution whose result has the size of its input (divided by the stride, rounded up), normalisation, activation.

    Args:
        in_channels: C of the input.
        out_channels: C of the result.
        kernel_size: odd.
        stride: of the convolution.
        dilation: of the convolution.
        groups: of the convolution.
        with_norm: normalise.
        bias: of the convolution; None gives it one where there is no normalisation.
        norm_cfg: see `build_norm_layer`; None is batch norm.
        act: 'relu', 'relu6', 'silu', 'elu', 'prelu' (a slope for each channel) or None.

    Raises:
        ValueError: the kernel is even or the activation unknown.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 1,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        with_norm: bool = True,
        bias: bool | None = None,
        norm_cfg: Mapping[str, Any] | None = None,
        act: str | None = 'relu',
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f'ConvModule: `kernel_size` must be odd, got {kernel_size}.')
        if act is not None and act not in _ACTIVATIONS:
            raise ValueError(f'ConvModule: `act` must be one of {list(_ACTIVATIONS)} or None, got {act!r}.')
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            groups=groups,
            bias=not with_norm if bias is None else bias,
        )
        self.norm_name = None
        if with_norm:
            self.norm_name, norm = build_norm_layer(norm_cfg, out_channels)
            self.add_module(self.norm_name, norm)
        self.activate = nn.Identity() if act is None else _ACTIVATIONS[act](out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, out_channels, H, W) of (B, in_channels, H, W), H and W divided by the stride and rounded up."""
        return self.finish(self.conv(x))

    def finish(self, x: Tensor) -> Tensor:
        """Return what the convolution gave, normalised and activated."""
        if self.norm_name is not None:
            x = getattr(self, self.norm_name)(x)
        return self.activate(x)
