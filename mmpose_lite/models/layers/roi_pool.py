"""Features of a fixed size for each of many boxes; the kernels are torchvision's, but for that of RoIAlign on the CPU."""

# Letters: B images, C channels, H x W cells of a map, R RoIs, h x w cells of a result.
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from mmpose_lite.ops.roi_align import pyramid_roi_align
from mmpose_lite.registry import LAYERS


def cells_of(owner: str, output_size: int | tuple[int, int]) -> tuple[int, int]:
    """Return (h, w), of two numbers or of one for both.

    Raises:
        ValueError: these are no positive numbers.
    """
    size = tuple(_pair(output_size))
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f'{owner}: `output_size` must be a positive number or (h, w) of two, got {output_size}.')
    return size


@LAYERS.register_module()
class RoIAlign(nn.Module):
    """The mean of bilinear samples in each cell of a box.

    Source: He et al., Mask R-CNN, ICCV 2017, Sec. 3, arXiv:1703.06870. Names and defaults are mmcv's.

    Args:
        output_size: h and w, or one number for both.
        spatial_scale: cells of the map per px of the boxes.
        sampling_ratio: samples of a cell along each side; 0 takes as many as the cell spans cells of the map, rounded up.
        aligned: the centre of the map's first cell is at half a cell, as it should; False is at 0, as in the first Mask R-CNNs.

    Raises:
        ValueError: `output_size` is not positive.
    """

    def __init__(
        self, output_size: int | tuple[int, int], *, spatial_scale: float = 1.0, sampling_ratio: int = 0, aligned: bool = True
    ) -> None:
        super().__init__()
        self.output_size = cells_of(type(self).__name__, output_size)
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def forward(self, feat: Tensor, rois: Tensor) -> Tensor:
        """Return (R, C, h, w).

        Args:
            feat: (B, C, H, W).
            rois: (R, 5), the index of the image and the box xyxy in px.
        """
        dtype = torch.promote_types(feat.dtype, torch.float32)  # half precision would move the boxes
        if feat.device.type == 'cpu':
            return self.pyramid((feat,), rois, rois.new_zeros(len(rois), dtype=torch.int64), (self.spatial_scale,))
        from torchvision.ops import roi_align

        pooled = roi_align(
            feat.to(dtype), rois.to(dtype), self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned
        )
        return pooled.to(feat.dtype)

    def pyramid(self, feats: Sequence[Tensor], rois: Tensor, levels: Tensor, scales: Sequence[float]) -> Tensor:
        """Return (R, C, h, w) of boxes on several levels; see `pyramid_roi_align`. For the CPU alone."""
        dtype = torch.promote_types(feats[0].dtype, torch.float32)
        pooled = pyramid_roi_align(
            [feat.to(dtype) for feat in feats],
            rois.to(dtype),
            levels,
            scales,
            self.output_size,
            sampling_ratio=self.sampling_ratio,
            aligned=self.aligned,
        )
        return pooled.to(feats[0].dtype)


@LAYERS.register_module()
class RoIPool(nn.Module):
    """The maximum in each cell of a box, whose edges are rounded to whole cells.

    Source: Girshick, Fast R-CNN, ICCV 2015, Sec. 2.1, arXiv:1504.08083. Names and defaults are mmcv's.

    Args:
        output_size: h and w, or one number for both.
        spatial_scale: cells of the map per px of the boxes.

    Raises:
        ValueError: `output_size` is not positive.
    """

    def __init__(self, output_size: int | tuple[int, int], *, spatial_scale: float = 1.0) -> None:
        super().__init__()
        self.output_size = cells_of(type(self).__name__, output_size)
        self.spatial_scale = spatial_scale

    def forward(self, feat: Tensor, rois: Tensor) -> Tensor:
        """Return (R, C, h, w); arguments as in `RoIAlign.forward`."""
        from torchvision.ops import roi_pool

        dtype = torch.promote_types(feat.dtype, torch.float32)
        return roi_pool(feat.to(dtype), rois.to(dtype), self.output_size, self.spatial_scale).to(feat.dtype)


@LAYERS.register_module()
class PSRoIAlign(nn.Module):
    """RoIAlign in which each cell of a result reads channels of its own: position-sensitive maps.

    Source: Dai et al., R-FCN, NeurIPS 2016, Sec. 2, arXiv:1605.06409, with the samples of RoIAlign.

    Args:
        output_size: h and w, or one number for both.
        spatial_scale: cells of the map per px of the boxes.
        sampling_ratio: see `RoIAlign`.

    Raises:
        ValueError: `output_size` is not positive.
    """

    def __init__(self, output_size: int | tuple[int, int], *, spatial_scale: float = 1.0, sampling_ratio: int = 0) -> None:
        super().__init__()
        self.output_size = cells_of(type(self).__name__, output_size)
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio

    def forward(self, feat: Tensor, rois: Tensor) -> Tensor:
        """Return (R, C, h, w) of a map (B, C * h * w, H, W), whose channel (c * h + i) * w + j is read for cell (i, j).

        Raises:
            ValueError: h * w does not divide the channels.
        """
        h, w = self.output_size
        if feat.shape[1] % (h * w):
            raise ValueError(
                f'PSRoIAlign: the channels of the map must be a multiple of the {h} x {w} cells, got {feat.shape[1]}.'
            )
        from torchvision.ops import ps_roi_align

        dtype = torch.promote_types(feat.dtype, torch.float32)
        pooled = ps_roi_align(feat.to(dtype), rois.to(dtype), self.output_size, self.spatial_scale, self.sampling_ratio)
        return pooled.to(feat.dtype)


@LAYERS.register_module()
class ContextAwareRoIPool(nn.Module):
    """RoIPool, but along a side that spans fewer cells of the map than the result has, cells are interpolated, not repeated.

    Source: Hu et al., SINet: A Scale-Insensitive Convolutional Neural Network for Fast Vehicle Detection, IEEE Trans. ITS 2019,
    Sec. III-B, arXiv:1804.00433, as in the authors' code (caroi_pooling_layer.cu of github.com/xw-hu/SINet), which was compared:
    edges are rounded to whole cells, the last included; each side decides for itself; a short one is enlarged to the size of the
    result by a bilinear kernel, its end cells onto the end cells; what lies beyond the map reads its border.
    Differs: of a box with one short side, maxima along the other side are taken before the short one is enlarged, not after. The
    margin that the authors can put around a box (`pad_ratio`) is left to the boxes.

    Args:
        output_size: h and w, or one number for both.
        spatial_scale: cells of the map per px of the boxes.

    Raises:
        ValueError: `output_size` is not positive.
    """

    def __init__(self, output_size: int | tuple[int, int], *, spatial_scale: float = 1.0) -> None:
        super().__init__()
        self.output_size = cells_of(type(self).__name__, output_size)
        self.spatial_scale = spatial_scale

    def forward(self, feat: Tensor, rois: Tensor) -> Tensor:
        """Return (R, C, h, w); arguments as in `RoIAlign.forward`."""
        from torchvision.ops import roi_pool

        dtype = torch.promote_types(feat.dtype, torch.float32)
        results = torch.tensor(self.output_size[::-1], dtype=dtype).to(rois.device, non_blocking=True)  # (w, h) cells
        first, last = (rois[:, 1:].to(dtype) * self.spatial_scale + 0.5).floor().split(2, dim=1)
        spans = (last - first + 1).clamp(min=1)
        # A short side is lengthened to as many cells as the result has, so that each of these is a cell of the map.
        boxes = torch.cat([rois[:, :1].to(dtype), first, first + spans.maximum(results) - 1], dim=1)
        pooled = roi_pool(feat.to(dtype), boxes, self.output_size)
        with torch.autocast(feat.device.type, enabled=False):
            for axis, length in enumerate(self.output_size[::-1]):
                weights = _bilinear(spans[:, axis], first[:, axis], length, feat.shape[3 - axis])
                along = pooled if axis == 0 else pooled.mT
                along = (along.flatten(1, 2) @ weights.mT).view(along.shape)
                pooled = along if axis == 0 else along.mT
        return pooled.to(feat.dtype)


def _bilinear(spans: Tensor, first: Tensor, length: int, num_cells: int) -> Tensor:
    """Return (R, length, length), how much each of the first cells of a side counts in each cell of the result.

    Args:
        spans: (R,) cells of the map that the side spans; from `length` on, each cell counts for itself.
        first: (R,) the first of them.
        length: cells of the result.
        num_cells: of the map along this axis.
    """
    cells = torch.arange(length, device=spans.device, dtype=spans.dtype)
    places = cells * ((spans.clamp(max=length) - 1) / max(length - 1, 1))[:, None]
    on_map = places.maximum(-first[:, None]).minimum(num_cells - 1 - first[:, None])
    places = on_map.where(spans[:, None] < length, places)
    return (1 - (places[..., None] - cells).abs()).clamp(min=0)
