"""Context for one map of a backbone, by convolutions of several dilations."""

# Letters: B batch, C channels, h x w cells.
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mmpose_lite.models.backbones.training import init_he
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.layers.aspp import dilated_branches, image_pool, pyramid
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.necks.neck_parts import check_num_maps
from mmpose_lite.registry import NECKS


@NECKS.register_module()
class ASPPNeck(BaseModule):
    """In place of one map: the mean of it and a convolution for each dilation, joined by one more convolution.

    Source: Chen et al., Rethinking Atrous Convolution, Sec. 3.3, arXiv:1706.05587; the parts are those of `ASPPHead`.

    Args:
        in_channels: C of the maps of the backbone, finest first.
        out_channels: C of the result.
        dilations: of each branch; 1 is a 1x1 convolution, others are 3x3. The paper takes 6, 12, 18 at stride 16.
        in_index: of the map; the others are handed on as they are.
        norm_cfg: see `build_norm_layer`; None is batch norm, with which the mean of the map needs two images for training.

    Attributes:
        out_channels: C of each map.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        *,
        dilations: Sequence[int] = (1, 6, 12, 18),
        in_index: int = -1,
        norm_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        num = len(in_channels)
        if not -num <= in_index < num:
            raise ValueError(f'ASPPNeck: `in_index` must be one of the {num} maps of `in_channels`, got {in_index}.')
        self.in_index = in_index % num
        of_map = in_channels[in_index]
        self.out_channels = tuple(out_channels if i == self.in_index else c for i, c in enumerate(in_channels))
        self.image_pool = image_pool(of_map, out_channels, norm_cfg)
        self.aspp_modules = dilated_branches('ASPPNeck', of_map, out_channels, dilations, norm_cfg)
        self.bottleneck = ConvModule((len(dilations) + 1) * out_channels, out_channels, kernel_size=3, norm_cfg=norm_cfg)

    def init_weights(self) -> None:
        """Set He's normal initial values (fan out)."""
        init_he(self)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the maps (B, C, h, w), of which one has become (B, out_channels, h, w).

        Raises:
            ValueError: there is not one map for each of `in_channels`.
        """
        check_num_maps('ASPPNeck', feats, len(self.out_channels))
        outs = list(feats)
        parts = dict(pool=self.image_pool, branches=self.aspp_modules, bottleneck=self.bottleneck)
        outs[self.in_index] = pyramid(outs[self.in_index], **parts)
        return tuple(outs)
