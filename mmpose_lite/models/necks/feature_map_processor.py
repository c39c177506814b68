"""Feature maps without new weights: activated and resized."""

# Letters: B batch, C channels, H x W cells.
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.registry import NECKS


@NECKS.register_module()
class FeatureMapProcessor(nn.Module):
    """ReLU, then bilinear resizing: with a convolution behind it, the simple decoder of ViTPose.

    Source: Xu et al., ViTPose, NeurIPS 2022, Sec. 3.1, Eq. 3, arXiv:2204.12484.

    Args:
        scale_factor: on the sides of each map.
        apply_relu: cut off negative values first.

    Raises:
        ValueError: `scale_factor` is not positive.
    """

    def __init__(self, *, scale_factor: float = 1.0, apply_relu: bool = False) -> None:
        super().__init__()
        if scale_factor <= 0:
            raise ValueError(f'FeatureMapProcessor: `scale_factor` must be positive, got {scale_factor}.')
        self.scale_factor = scale_factor
        self.apply_relu = apply_relu

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return maps (B, C, scale_factor * H, scale_factor * W) of maps (B, C, H, W)."""
        if self.apply_relu:
            feats = [functional.relu(feat) for feat in feats]
        if self.scale_factor == 1:
            return tuple(feats)
        resize = {'scale_factor': self.scale_factor, 'mode': 'bilinear', 'align_corners': False}
        return tuple(functional.interpolate(feat, **resize) for feat in feats)
