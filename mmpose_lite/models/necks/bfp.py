"""The balanced feature pyramid of Libra R-CNN."""

# Letters: B batch, C channels, H x W cells, L levels.
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.layers.non_local import NonLocal2d
from mmpose_lite.models.necks.neck_parts import init_xavier
from mmpose_lite.registry import NECKS

REFINE_TYPES = (None, 'conv', 'non_local')


@NECKS.register_module()
class BFP(BaseModule):
    """To each map the mean of all is added, which is taken at the size of one of them and refined there.

    Source: Pang et al., Libra R-CNN, CVPR 2019, Sec. 3.2, arXiv:1904.02701. Names and defaults are mmdet's.

    Args:
        in_channels: C of every map, in and out.
        num_levels: L maps.
        refine_level: of which map, from 0, the mean has the size.
        refine_type: what refines it: a 3x3 'conv', a 'non_local' block, or None.
        norm_cfg: of 'conv', see `build_norm_layer`; None is no normalisation.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        in_channels: int,
        num_levels: int,
        *,
        refine_level: int = 2,
        refine_type: str | None = None,
        norm_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= refine_level < num_levels:
            raise ValueError(f'BFP: `refine_level` must be one of the {num_levels} maps, counted from 0, got {refine_level}.')
        if refine_type not in REFINE_TYPES:
            raise ValueError(f'BFP: `refine_type` must be one of {REFINE_TYPES}, got {refine_type!r}.')
        self.num_levels = num_levels
        self.refine_level = refine_level
        self.out_channels = (in_channels,) * num_levels
        self.refine: nn.Module = nn.Identity()
        if refine_type == 'conv':
            self.refine = ConvModule(in_channels, in_channels, kernel_size=3, with_norm=norm_cfg is not None, norm_cfg=norm_cfg)
        elif refine_type == 'non_local':
            self.refine = NonLocal2d(in_channels, reduction=1, use_scale=False)

    def init_weights(self) -> None:
        """Set Xavier's uniform initial values in the 'conv'; a non-local block has its own."""
        if isinstance(self.refine, NonLocal2d):
            self.refine.init_weights()
        else:
            init_xavier(self)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return L maps of the shapes of the L `feats` (B, C, H, W), finest first.

        Raises:
            ValueError: there are not L maps.
        """
        if len(feats) != self.num_levels:
            raise ValueError(f'BFP: `num_levels` must be the number of maps, {len(feats)}, got {self.num_levels}.')
        size = feats[self.refine_level].shape[2:]
        mean = sum(_resized(x, size) for x in feats) / self.num_levels
        refined = self.refine(mean)
        return tuple(x + _resized(refined, x.shape[2:]) for x in feats)


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Return (B, C, *size) of (B, C, H, W): the maximum where it shrinks, the nearest cell where it grows."""
    if x.shape[2] > size[0] or x.shape[3] > size[1]:
        return functional.adaptive_max_pool2d(x, size)
    return x if x.shape[2:] == size else functional.interpolate(x, size=size)
