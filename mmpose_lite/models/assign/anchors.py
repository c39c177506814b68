"""Anchors: boxes of fixed shapes around every cell of every feature map."""

# Letters: L levels, A anchors per cell, H x W cells of one level, N anchors.
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmpose_lite.registry import PRIOR_GENERATORS


@PRIOR_GENERATORS.register_module()
class AnchorGenerator(nn.Module):
    """Makes anchors of the area (scale * base size)^2 and of each aspect ratio.

    A module, so that it moves to the device with the head; nothing of it is in a state dict. The order is mmdet's: rows, then
    columns of cells, then ratios, then scales.

    Source: Ren et al., Faster R-CNN, NeurIPS 2015, Sec. 3.1, arXiv:1506.01497; octaves: Lin et al., Focal Loss, Sec. 4,
    arXiv:1708.02002.

    Args:
        strides: px between the cells of each of L levels.
        ratios: height over width.
        scales: of the side of a square anchor, in base sizes. Either these or the two octave arguments are given.
        base_sizes: px of each level; the strides if None.
        scale_major: False makes scales the outer and ratios the inner order.
        octave_base_scale: the least scale, with `scales_per_octave`.
        scales_per_octave: so many scales from there on, up to but without its double, in equal ratios.
        center_offset: of the anchors from the corner of their cell, in strides; 0.5 is the middle.

    Raises:
        ValueError: an argument is out of range, or the ways of giving scales are mixed.
    """

    base_anchors: Tensor

    def __init__(
        self,
        *,
        strides: Sequence[int],
        ratios: Sequence[float],
        scales: Sequence[float] | None = None,
        base_sizes: Sequence[float] | None = None,
        scale_major: bool = True,
        octave_base_scale: float | None = None,
        scales_per_octave: int | None = None,
        center_offset: float = 0.0,
    ) -> None:
        super().__init__()
        if (scales is None) == (octave_base_scale is None) or (octave_base_scale is None) != (scales_per_octave is None):
            raise ValueError(
                'AnchorGenerator: either `scales` or both `octave_base_scale` and `scales_per_octave` must be given, '
                f'got {scales}, {octave_base_scale} and {scales_per_octave}.'
            )
        if scales is None:
            assert octave_base_scale is not None
            assert scales_per_octave is not None
            scales = [octave_base_scale * 2 ** (i / scales_per_octave) for i in range(scales_per_octave)]
        base_sizes = strides if base_sizes is None else base_sizes
        if len(base_sizes) != len(strides):
            raise ValueError(f'AnchorGenerator: `base_sizes` needs one entry per stride ({len(strides)}), got {base_sizes}.')
        for name, values in dict(strides=strides, ratios=ratios, scales=scales, base_sizes=base_sizes).items():
            if not len(values) or not all(isinstance(value, int | float) and value > 0 for value in values):
                raise ValueError(f'AnchorGenerator: `{name}` must be one or more numbers above 0, got {values}.')
        if not 0 <= center_offset <= 1:
            raise ValueError(f'AnchorGenerator: `center_offset` must be in [0, 1], got {center_offset}.')
        self.strides = tuple(strides)
        self.scales = tuple(scales)
        self.num_base_anchors = len(ratios) * len(scales)
        heights, factors = torch.tensor(ratios, dtype=torch.float32).sqrt(), torch.tensor(scales, dtype=torch.float32)
        sides = torch.stack([1 / heights, heights], dim=-1)[:, None] * factors[:, None]  # ratios x scales x (w, h)
        sides = (sides if scale_major else sides.transpose(0, 1)).reshape(1, -1, 2)
        half = sides * torch.tensor(base_sizes, dtype=torch.float32)[:, None, None] / 2
        centers = center_offset * torch.tensor(strides, dtype=torch.float32)[:, None, None]
        self.register_buffer('base_anchors', torch.cat([centers - half, centers + half], dim=-1), persistent=False)

    @property
    def num_levels(self) -> int:
        return len(self.strides)

    def forward(self, featmap_shapes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Return for each level the anchors (H * W * A, 4) xyxy, px of the input.

        Args:
            featmap_shapes: (H, W) of each of the L feature maps, finest first.

        Raises:
            ValueError: there is not one shape per level.
        """
        self._check_levels(featmap_shapes)
        anchors = []
        for (H, W), stride, base in zip(featmap_shapes, self.strides, self.base_anchors):
            x, y = (torch.arange(length, device=base.device, dtype=base.dtype) * stride for length in (W, H))
            corners = torch.stack(torch.meshgrid(x, y, indexing='xy'), dim=-1)  # (H, W, 2)
            anchors.append((corners.repeat(1, 1, 2)[:, :, None] + base).view(-1, 4))
        return anchors

    def valid_flags(self, featmap_shapes: Sequence[tuple[int, int]], image_shape: tuple[int, int]) -> list[Tensor]:
        """Return for each level (H * W * A,) bool: whether the anchor's cell is on the image and not on its padding.

        Differs: mmdet also learns from the padding of an image up to the next multiple of 32 px.

        Args:
            featmap_shapes: (H, W) of each of the L feature maps.
            image_shape: (h, w) px of the image, without what was padded to make a batch.

        Raises:
            ValueError: there is not one shape per level.
        """
        self._check_levels(featmap_shapes)
        flags = []
        for (H, W), stride in zip(featmap_shapes, self.strides):
            y, x = (
                torch.arange(length, device=self.base_anchors.device) < -(-size // stride)
                for length, size in zip((H, W), image_shape)
            )
            flags.append((y[:, None] & x).flatten().repeat_interleave(self.num_base_anchors))
        return flags

    def _check_levels(self, featmap_shapes: Sequence[tuple[int, int]]) -> None:
        if len(featmap_shapes) != self.num_levels:
            raise ValueError(
                f'AnchorGenerator: `featmap_shapes` needs one (H, W) per stride ({self.num_levels}), got {featmap_shapes}.'
            )


def inside_image(anchors: Tensor, image_shape: tuple[int, int], *, border: float = 0) -> Tensor:
    """Return (N,) bool: which of the anchors (N, 4) reach at most `border` px beyond the image of `image_shape` (h, w)."""
    h, w = image_shape
    x1, y1, x2, y2 = anchors.unbind(-1)
    return (x1 >= -border) & (y1 >= -border) & (x2 < w + border) & (y2 < h + border)
