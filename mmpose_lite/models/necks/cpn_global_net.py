"""The feature pyramid of a cascaded pyramid network."""

# Letters: B batch, C channels, H x W cells.
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmpose_lite.models.backbones.training import init_he
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.necks.neck_parts import check_num_maps
from mmpose_lite.registry import NECKS


@NECKS.register_module()
class CPNGlobalNet(BaseModule):
    """Each map plus the coarser result, enlarged and passed through a 1x1 convolution.

    Source: Chen et al., Cascaded Pyramid Network for Multi-Person Pose Estimation, CVPR 2018, Sec. 3.2, arXiv:1711.07319;
    batch norm and activations as in the code the authors published.

    Args:
        in_channels: C of the maps of the backbone, finest first.
        out_channels: C of every result.
        norm_cfg: see `build_norm_layer`; None is batch norm.

    Raises:
        ValueError: there are fewer than two maps.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int = 256, *, norm_cfg: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        if len(in_channels) < 2:
            raise ValueError(f'CPNGlobalNet: `in_channels` needs two or more maps, got {tuple(in_channels)}.')
        self.laterals = nn.ModuleList(ConvModule(c, out_channels, norm_cfg=norm_cfg) for c in in_channels)
        self.upsamples = nn.ModuleList(
            ConvModule(out_channels, out_channels, norm_cfg=norm_cfg, act=None) for _ in in_channels[1:]
        )
        self.out_channels = (out_channels,) * len(in_channels)

    def init_weights(self) -> None:
        """Set He's normal initial values (fan out)."""
        init_he(self)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return maps (B, out_channels, H, W) of the sizes of `feats`, finest first."""
        check_num_maps('CPNGlobalNet', feats, len(self.laterals))
        outs = [self.laterals[-1](feats[-1])]
        for i in reversed(range(len(self.upsamples))):
            larger = interpolate(outs[0], size=feats[i].shape[-2:], mode='bilinear', align_corners=True)
            outs.insert(0, self.laterals[i](feats[i]) + self.upsamples[i](larger))
        return tuple(outs)
