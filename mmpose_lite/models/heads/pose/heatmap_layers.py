"""Layers that heads with heatmaps share, and their initial values."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from mmpose_lite.registry import CODECS

# kernel size -> padding and output padding with which a stride of 2 doubles the map
_DECONV_PADDING = {4: (1, 0), 3: (1, 1), 2: (0, 0)}


def heatmap_codec(owner: str, cfg: Mapping[str, Any] | None) -> Any:
    """Return the codec of a head with heatmaps, or None.

    Args:
        owner: the class that asks, as errors call it.
        cfg: config of the codec.

    Raises:
        ValueError: the codec makes labels of coordinates, not heatmaps.
    """
    codec = None if cfg is None else CODECS.build(cfg)
    if hasattr(codec, 'num_bins'):
        raise ValueError(
            f'{owner}: `codec` must make heatmaps, as HeatmapCodec does, got {codec!r}. SimCCHead and RTMCCHead learn its labels.'
        )
    return codec


def check_lengths(owner: str, what: str, out_channels: Sequence[int], kernel_sizes: Sequence[int]) -> None:
    """Raise ValueError unless there is one kernel size per layer of the kind `what`."""
    if len(out_channels) != len(kernel_sizes):
        raise ValueError(
            f'{owner}: `{what}_kernel_sizes` needs one entry per {what} layer ({len(out_channels)}), got {tuple(kernel_sizes)}.'
        )


def deconv_layers(
    owner: str, channels: int, out_channels: Sequence[int], kernel_sizes: Sequence[int]
) -> tuple[nn.Sequential, int]:
    """Return deconvolutions with norm and activation, each of which doubles the map, and the C of their result.

    Args:
        owner: the class that asks, as errors call it.
        channels: C of the input.
        out_channels: of each deconvolution; () for none.
        kernel_sizes: of each deconvolution: 2, 3 or 4.

    Raises:
        ValueError: the lengths do not fit together, or a kernel does not double the map.
    """
    if out_channels:
        check_lengths(owner, 'deconv', out_channels, kernel_sizes)
    layers: list[nn.Module] = []
    for c_out, kernel in zip(out_channels, kernel_sizes):
        if kernel not in _DECONV_PADDING:
            raise ValueError(f'{owner}: `deconv_kernel_sizes` must be of {sorted(_DECONV_PADDING)}, got {kernel}.')
        padding, output_padding = _DECONV_PADDING[kernel]
        layers.append(
            nn.ConvTranspose2d(channels, c_out, kernel, stride=2, padding=padding, output_padding=output_padding, bias=False)
        )
        layers += [nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]
        channels = c_out
    return nn.Sequential(*layers), channels


def init_normal(head: nn.Module) -> None:
    """Set normal initial values of standard deviation 0.001; biases 0, batch norm 1 and 0.

    Source: Xiao et al., Simple Baselines for Human Pose Estimation and Tracking, ECCV 2018, Sec. 2, arXiv:1804.06208.
    """
    for module in head.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.001)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
