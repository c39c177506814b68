"""RoI pooling whose cells move to where the features of the box say."""

# Letters: B images, C channels, H x W cells of a map, R RoIs, h x w cells of a result, s samples along each side of a cell.
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.layers.roi_pool import RoIAlign, cells_of
from mmpose_lite.registry import LAYERS

_SAMPLES_OF_GRADIENT = 2  # along each side of a cell
_SLACK = 3e-5  # cells of the map, of which a side is shorter, lest rounding give one that is a whole number another sample


def pool_moved_cells(feat: Tensor, rois: Tensor, offset: Tensor, *, spatial_scale: float, sampling_ratio: int) -> Tensor:
    """Return (R, C, h, w): the mean of s x s bilinear samples in each cell of a box, moved; with a gradient for `offset`.

    Samples beyond the map read its border, up to one cell away, and 0 from there on, as those of RoIAlign do.

    Args:
        feat: (B, C, H, W).
        rois: (R, 5), the index of the image and the box xyxy in px.
        offset: (R, 2, h, w), x and y by which a cell moves, in widths and heights of the box.
        spatial_scale: cells of the map per px of the boxes.
        sampling_ratio: s; 0 takes as many as a cell spans cells of the map, rounded up, and for the gradient of `offset` 2.
    """
    if sampling_ratio > 0:
        return _mean_of_samples(feat, rois, offset, spatial_scale, sampling_ratio)
    pooled = _cells_as_boxes(feat, rois, offset.detach(), spatial_scale)
    if not offset.requires_grad:
        return pooled
    moving = _mean_of_samples(feat.detach(), rois, offset, spatial_scale, _SAMPLES_OF_GRADIENT)
    return pooled + (moving - moving.detach())


def _cells_as_boxes(feat: Tensor, rois: Tensor, offset: Tensor, spatial_scale: float) -> Tensor:
    """Return what RoIAlign, which knows the number of samples of each box by itself, pools of each cell alone."""
    R, _, h, w = offset.shape
    corner, size = rois[:, 1:3] * spatial_scale, (rois[:, 3:] - rois[:, 1:3]) * spatial_scale
    lows, highs = [], []
    for axis, cells in enumerate((w, h)):
        steps = torch.arange(cells, device=feat.device, dtype=size.dtype) / cells
        side = size[:, axis, None, None]
        low = corner[:, axis, None, None] + (offset[:, axis] + (steps if axis == 0 else steps[:, None])) * side
        lows.append(low + _SLACK / 2)
        highs.append(low + side / cells - _SLACK / 2)
    boxes = torch.stack([rois[:, 0, None, None].expand(R, h, w), *lows, *highs], dim=-1).view(-1, 5)
    return RoIAlign(1)(feat, boxes).view(R, h, w, feat.shape[1]).permute(0, 3, 1, 2)


def _mean_of_samples(feat: Tensor, rois: Tensor, offset: Tensor, spatial_scale: float, sampling_ratio: int) -> Tensor:
    """Return the mean of s x s samples; see `pool_moved_cells`."""
    B, C, H, W = feat.shape
    R, _, h, w = offset.shape
    corner = rois[:, 1:3] * spatial_scale - 0.5
    size = (rois[:, 3:] - rois[:, 1:3]) * spatial_scale
    xy = []
    for axis, cells in enumerate((w, h)):
        steps = (torch.arange(cells * sampling_ratio, device=feat.device, dtype=size.dtype) + 0.5) / (cells * sampling_ratio)
        moved = offset[:, axis, :, :, None] * size[:, axis, None, None, None]  # (R, h, w, 1)
        along = (corner[:, axis, None] + steps * size[:, axis, None]).view(R, cells, sampling_ratio)
        xy.append((along[:, None] if axis == 0 else along[:, :, None]) + moved)  # (R, h, w, s)
    x, y = xy[0][..., None, :].expand(R, h, w, sampling_ratio, -1), xy[1][..., None].expand(R, h, w, -1, sampling_ratio)
    on_map = (x >= -1) & (x <= W) & (y >= -1) & (y <= H)
    x, y = x.clamp(0, W - 1), y.clamp(0, H - 1)
    left, top = x.detach().floor().clamp(max=max(W - 2, 0)), y.detach().floor().clamp(max=max(H - 2, 0))
    first = rois[:, 0].long().view(R, 1, 1, 1, 1) * (H * W)
    indices, weights = [], []
    for dy in range(min(H, 2)):
        for dx in range(min(W, 2)):
            indices.append(first + (top.long() + dy) * W + left.long() + dx)
            weights.append((1 - (x - left - dx).abs()) * (1 - (y - top - dy).abs()) * on_map / sampling_ratio**2)
    table = feat.permute(0, 2, 3, 1).reshape(B * H * W, C)
    if not table.requires_grad:  # torch 2.4 fails to differentiate by the weights alone, as behind a frozen backbone
        table = table.detach().requires_grad_(offset.requires_grad)
    per_cell = (-1, len(indices) * sampling_ratio**2)
    pooled = functional.embedding_bag(
        torch.stack(indices, dim=-1).reshape(per_cell),
        table,
        mode='sum',
        per_sample_weights=torch.stack(weights, dim=-1).reshape(per_cell),
    )
    return pooled.view(R, h, w, C).permute(0, 3, 1, 2)


@LAYERS.register_module()
class DeformRoIPoolPack(nn.Module):
    """Pools a box twice: the first result says, through layers of its own, how the cells of the second move.

    Source: Dai et al., Deformable Convolutional Networks, ICCV 2017, Sec. 2.2, arXiv:1703.06211. Names and keys are mmcv's.
    Differs: with `sampling_ratio=0`, the gradient that makes cells move is that of 2 x 2 samples, whatever the size of the cell.

    Args:
        output_size: h and w, or one number for both.
        output_channels: C of the maps.
        deform_fc_channels: of the two hidden layers.
        spatial_scale: cells of the map per px of the boxes.
        sampling_ratio: samples of a cell along each side; 0 takes as many as it spans cells of the map, rounded up.
        gamma: factor on the offsets, which are then in widths and heights of the box.

    Raises:
        ValueError: `output_size` is not positive, or `sampling_ratio` negative.
    """

    def __init__(
        self,
        output_size: int | tuple[int, int],
        output_channels: int,
        *,
        deform_fc_channels: int = 1024,
        spatial_scale: float = 1.0,
        sampling_ratio: int = 0,
        gamma: float = 0.1,
    ) -> None:
        super().__init__()
        if sampling_ratio < 0:
            raise ValueError(f'{type(self).__name__}: `sampling_ratio` must be 0 or more, got {sampling_ratio}.')
        self.output_size = cells_of(type(self).__name__, output_size)
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.gamma = gamma
        h, w = self.output_size
        self.undeformed = RoIAlign((h, w), spatial_scale=spatial_scale, sampling_ratio=sampling_ratio)
        self.offset_fc = nn.Sequential(
            nn.Linear(h * w * output_channels, deform_fc_channels),
            nn.ReLU(inplace=True),
            nn.Linear(deform_fc_channels, deform_fc_channels),
            nn.ReLU(inplace=True),
            nn.Linear(deform_fc_channels, 2 * h * w),
        )
        self.init_weights()

    def init_weights(self) -> None:
        """Start without offsets: 0 in the last layer; torch's values in the others."""
        nn.init.zeros_(self.offset_fc[-1].weight)
        nn.init.zeros_(self.offset_fc[-1].bias)

    def forward(self, feat: Tensor, rois: Tensor) -> Tensor:
        """Return (R, C, h, w); arguments as in `RoIAlign.forward`."""
        return self._deformed(feat, rois, self.undeformed(feat, rois).flatten(1))

    def _deformed(self, feat: Tensor, rois: Tensor, hidden: Tensor) -> Tensor:
        offset = self.gamma * self.offset_fc(hidden).view(-1, 2, *self.output_size)
        dtype = torch.promote_types(feat.dtype, torch.float32)  # half precision would move the boxes
        with torch.autocast(feat.device.type, enabled=False):
            pooled = pool_moved_cells(
                feat.to(dtype),
                rois.to(dtype),
                offset.to(dtype),
                spatial_scale=self.spatial_scale,
                sampling_ratio=self.sampling_ratio,
            )
        return pooled.to(feat.dtype)


@LAYERS.register_module()
class ModulatedDeformRoIPoolPack(DeformRoIPoolPack):
    """As `DeformRoIPoolPack`, and each cell of the result is multiplied by a number in (0, 1), made of the first result.

    Source: Zhu et al., Deformable ConvNets v2, CVPR 2019, Sec. 3.2, arXiv:1811.11168. Names and keys are mmcv's.

    Args:
        output_size: h and w; see `DeformRoIPoolPack`, as for the others.
        output_channels: C of the maps.
        deform_fc_channels: of the hidden layers.
        spatial_scale: cells of the map per px of the boxes.
        sampling_ratio: samples of a cell along each side.
        gamma: factor on the offsets.
    """

    def __init__(
        self,
        output_size: int | tuple[int, int],
        output_channels: int,
        *,
        deform_fc_channels: int = 1024,
        spatial_scale: float = 1.0,
        sampling_ratio: int = 0,
        gamma: float = 0.1,
    ) -> None:
        super().__init__(
            output_size,
            output_channels,
            deform_fc_channels=deform_fc_channels,
            spatial_scale=spatial_scale,
            sampling_ratio=sampling_ratio,
            gamma=gamma,
        )
        h, w = self.output_size
        self.mask_fc = nn.Sequential(
            nn.Linear(h * w * output_channels, deform_fc_channels),
            nn.ReLU(inplace=True),
            nn.Linear(deform_fc_channels, h * w),
            nn.Sigmoid(),
        )
        nn.init.zeros_(self.mask_fc[2].weight)
        nn.init.zeros_(self.mask_fc[2].bias)

    def forward(self, feat: Tensor, rois: Tensor) -> Tensor:
        """Return (R, C, h, w); arguments as in `RoIAlign.forward`."""
        hidden = self.undeformed(feat, rois).flatten(1)
        return self._deformed(feat, rois, hidden) * self.mask_fc(hidden).view(-1, 1, *self.output_size)
