"""The stages of OpenPose's networks: image features and earlier maps in, fields and heatmaps out."""

# Letters: B batch, C channels, H x W cells.
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.registry import LAYERS


class MapStage(nn.Module):
    """A trunk, then a branch for each kind of map.

    Args:
        branches: name of the maps -> layers that make them; the last of these is a `ConvModule`.
        trunk: layers before the branches; None for none.
    """

    def __init__(self, branches: Mapping[str, nn.Sequential], *, trunk: nn.Module | None = None) -> None:
        super().__init__()
        self.maps = tuple(branches)
        self.trunk = nn.Identity() if trunk is None else trunk
        for maps, layers in branches.items():
            self.add_module(maps, layers)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the maps (B, C, H, W) by name, any range, of features (B, in_channels, H, W)."""
        x = self.trunk(x)
        return {maps: getattr(self, maps)(x) for maps in self.maps}


def _zero_biases(stage: nn.Module) -> list[nn.Conv2d]:
    """Set the biases of the convolutions to 0 and return the convolutions."""
    convs = [module for module in stage.modules() if isinstance(module, nn.Conv2d)]
    for conv in convs:
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
    return convs


def _last_layers(channels: int, last_channels: int, out_channels: int, *, act: str = 'relu') -> list[nn.Module]:
    return [
        ConvModule(channels, last_channels, with_norm=False, act=act),
        ConvModule(last_channels, out_channels, with_norm=False, act=None),
    ]


@LAYERS.register_module()
class OpenPoseStage(MapStage):
    """For each kind of map: convolutions in a row, then two of 1x1.

    Source: Cao et al., CVPR 2017, Fig. 3, arXiv:1611.08050: the first stage has three 3x3 convolutions and 512 channels at the
    end, the others five 7x7 and 128.

    Args:
        in_channels: C of the input.
        out_channels: name of the maps -> their C.
        kernel_size: of the convolutions, odd.
        num_convs: before the last two.
        channels: C of each of them.
        last_channels: C of the first 1x1 convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: Mapping[str, int],
        *,
        kernel_size: int = 7,
        num_convs: int = 5,
        channels: int = 128,
        last_channels: int = 128,
    ) -> None:
        def branch(c_out: int) -> nn.Sequential:
            inputs = (in_channels, *(channels,) * (num_convs - 1))
            convs = (ConvModule(c_in, channels, kernel_size=kernel_size, with_norm=False) for c_in in inputs)
            return nn.Sequential(*convs, *_last_layers(channels, last_channels, c_out))

        if num_convs < 1:
            raise ValueError(f'OpenPoseStage: `num_convs` must be 1 or more, got {num_convs}.')
        super().__init__({maps: branch(c_out) for maps, c_out in out_channels.items()})

    def init_weights(self) -> None:
        """Set normal initial values of standard deviation 0.01, as the authors do; biases 0."""
        for conv in _zero_biases(self):
            nn.init.normal_(conv.weight, std=0.01)


class DenseBlock(nn.Module):
    """Three 3x3 convolutions in a row; the results of all three side by side."""

    def __init__(self, in_channels: int, channels: int, *, act: str) -> None:
        super().__init__()
        inputs = (in_channels, channels, channels)
        self.convs = nn.ModuleList(ConvModule(c_in, channels, kernel_size=3, with_norm=False, act=act) for c_in in inputs)

    def forward(self, x: Tensor) -> Tensor:
        results = [x]
        for conv in self.convs:
            results.append(conv(results[-1]))
        return torch.cat(results[1:], dim=1)


@LAYERS.register_module()
class OpenPoseDenseStage(MapStage):
    """For each kind of map: dense blocks, each in place of a 7x7 convolution, then two 1x1 convolutions.

    Source: Cao et al., OpenPose, TPAMI 2019, Sec. 3.2 and Fig. 3, arXiv:1812.08008; channels and activation are those of the
    authors' body_25 (96 and 256 in the first stage of fields and of heatmaps, 128 and 512 in the others).

    Args:
        in_channels: C of the input.
        out_channels: name of the maps -> their C.
        num_blocks: dense blocks.
        channels: C of each of their convolutions.
        last_channels: C of the first 1x1 convolution.
        act: 'prelu', as the authors', or another activation of `ConvModule`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: Mapping[str, int],
        *,
        num_blocks: int = 5,
        channels: int = 128,
        last_channels: int = 512,
        act: str = 'prelu',
    ) -> None:
        def branch(c_out: int) -> nn.Sequential:
            inputs = (in_channels, *(3 * channels,) * (num_blocks - 1))
            blocks = (DenseBlock(c_in, channels, act=act) for c_in in inputs)
            return nn.Sequential(*blocks, *_last_layers(3 * channels, last_channels, c_out, act=act))

        if num_blocks < 1:
            raise ValueError(f'OpenPoseDenseStage: `num_blocks` must be 1 or more, got {num_blocks}.')
        super().__init__({maps: branch(c_out) for maps, c_out in out_channels.items()})

    def init_weights(self) -> None:
        """Set uniform initial values of variance 1 / fan in, as the authors do; biases 0."""
        for conv in _zero_biases(self):
            nn.init.kaiming_uniform_(conv.weight, nonlinearity='linear')


class LightweightStage(MapStage):
    """A trunk that all maps share, then two 1x1 convolutions for each kind of map."""

    def __init__(self, trunk: nn.Module, channels: int, last_channels: int, out_channels: Mapping[str, int]) -> None:
        branches = {maps: nn.Sequential(*_last_layers(channels, last_channels, c_out)) for maps, c_out in out_channels.items()}
        super().__init__(branches, trunk=trunk)

    def init_weights(self) -> None:
        """Set He's normal initial values (fan in), but a standard deviation of 0.001 in the last layers; biases 0.

        Differs: the author leaves PyTorch's.
        """
        for conv in _zero_biases(self):
            nn.init.kaiming_normal_(conv.weight, nonlinearity='relu')
        for maps in self.maps:
            nn.init.normal_(getattr(self, maps)[-1].conv.weight, std=0.001)


@LAYERS.register_module()
class LightweightInitialStage(LightweightStage):
    """Three 3x3 convolutions that all maps share, then two of 1x1 for each kind of map.

    Source: Osokin, Lightweight OpenPose, Sec. 3.2, arXiv:1811.12004.

    Args:
        in_channels: C of the input.
        out_channels: name of the maps -> their C.
        channels: C of the 3x3 convolutions.
        last_channels: C of the first 1x1 convolution.
    """

    def __init__(
        self, in_channels: int, out_channels: Mapping[str, int], *, channels: int = 128, last_channels: int = 512
    ) -> None:
        convs = (ConvModule(c_in, channels, kernel_size=3, with_norm=False) for c_in in (in_channels, channels, channels))
        super().__init__(nn.Sequential(*convs), channels, last_channels, out_channels)


class RefinementBlock(nn.Module):
    """A 1x1 convolution, and two of 3x3 with norms, the second dilated, around which it is a shortcut."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.initial = ConvModule(in_channels, channels, with_norm=False)
        self.trunk = nn.Sequential(
            ConvModule(channels, channels, kernel_size=3, bias=True),
            ConvModule(channels, channels, kernel_size=3, dilation=2, bias=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.initial(x)
        return x + self.trunk(x)


@LAYERS.register_module()
class LightweightRefinementStage(LightweightStage):
    """Blocks with the receptive field of 7x7 convolutions that all maps share, then two 1x1 convolutions for each kind of map.

    Source: Osokin, Lightweight OpenPose, Sec. 3.2 and Fig. 4, arXiv:1811.12004.

    Args:
        in_channels: C of the input.
        out_channels: name of the maps -> their C.
        num_blocks: blocks of three convolutions.
        channels: C of the convolutions.
    """

    def __init__(self, in_channels: int, out_channels: Mapping[str, int], *, num_blocks: int = 5, channels: int = 128) -> None:
        if num_blocks < 1:
            raise ValueError(f'LightweightRefinementStage: `num_blocks` must be 1 or more, got {num_blocks}.')
        inputs = (in_channels, *(channels,) * (num_blocks - 1))
        trunk = nn.Sequential(*(RefinementBlock(c_in, channels) for c_in in inputs))
        super().__init__(trunk, channels, channels, out_channels)
