"""RoIAlign on a pyramid, for the CPU: bins are weighted sums of rows of one table, forwards as backwards.

torchvision's kernel scatters the gradient with one thread, which takes most of a training step on two cores: for 2,048 boxes of
256 channels 5.5 s of processor time, where this takes 0.3 s.
"""

# Letters: B images, C channels, L levels, H x W cells of a level, R RoIs, h x w bins, N cells of all levels and images.
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

_BOXES_AT_ONCE = 2048  # whose taps are found together, with room for as many samples as the largest of them has


class Taps(NamedTuple):
    """The cells that each bin sums up: bin i those from offsets[i] to offsets[i + 1]."""

    cells: Tensor  # (T,) int64, in [0, N)
    weights: Tensor  # (T,) float32
    offsets: Tensor  # (R * h * w + 1,) int64


def pyramid_roi_align(
    feats: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor,
    scales: Sequence[float],
    output_size: tuple[int, int],
    *,
    sampling_ratio: int = 0,
    aligned: bool = True,
) -> Tensor:
    """Return (R, C, h, w): of each box the mean of bilinear samples in each bin, from one level; differentiable in `feats`.

    Source: He et al., Mask R-CNN, ICCV 2017, Sec. 3, arXiv:1703.06870. The same numbers as torchvision's roi_align, but NaN for a
    box that is not finite, so that the loss of a network that has diverged tells.

    Args:
        feats: maps (B, C, H, W) of L levels.
        rois: (R, 5), the index of the image and the box xyxy in px.
        levels: (R,) int64 which map.
        scales: cells per px of each level.
        output_size: (h, w).
        sampling_ratio: samples of a bin along each side; 0 takes as many as the bin spans cells, rounded up.
        aligned: the centre of the first cell is at half a cell; False: at 0, and boxes are at least a cell wide.
    """
    B, C = feats[0].shape[:2]
    h, w = output_size
    if not len(rois):
        nothing = sum(feat[:, :, :0].sum() for feat in feats)  # keeps the maps in the graph
        return feats[0].new_zeros(0, C, h, w) + nothing
    finite = rois.isfinite().all(dim=1)
    rois = rois.where(finite[:, None], 0)
    table = torch.cat([feat.permute(0, 2, 3, 1).reshape(-1, C) for feat in feats])
    shapes = [(feat.shape[2], feat.shape[3]) for feat in feats]
    parts = [
        bilinear_taps(*part, shapes, scales, output_size, batch_size=B, sampling_ratio=sampling_ratio, aligned=aligned)
        for part in zip(rois.split(_BOXES_AT_ONCE), levels.split(_BOXES_AT_ONCE))
    ]
    pooled = _WeightedSums.apply(table, *_joined(parts)).view(len(rois), h, w, C).permute(0, 3, 1, 2)
    return pooled if finite.all() else pooled.where(finite[:, None, None, None], torch.nan)


def _joined(parts: Sequence[Taps]) -> Taps:
    """Return the taps of all bins, of those of some after those of others."""
    if len(parts) == 1:
        return parts[0]
    starts = torch.tensor([0, *(len(part.cells) for part in parts[:-1])]).cumsum(0)
    offsets = [part.offsets[i > 0 :] + start for i, (part, start) in enumerate(zip(parts, starts))]
    return Taps(torch.cat([part.cells for part in parts]), torch.cat([part.weights for part in parts]), torch.cat(offsets))


class _WeightedSums(torch.autograd.Function):
    """Rows of a table (N, C) by taps -> (bins, C). The gradient is a weighted sum, too: of the bins that each row is in."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, cells: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(cells, weights, offsets)
        ctx.num_rows = len(table)
        return _sums(table, cells, weights, offsets)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from scipy.sparse import csr_matrix

        cells, weights, offsets = (tensor.numpy() for tensor in ctx.saved_tensors)
        by_row = csr_matrix((weights, cells, offsets), shape=(len(offsets) - 1, ctx.num_rows)).tocsc()  # in linear time
        bins, weights, offsets = (torch.from_numpy(array) for array in (by_row.indices, by_row.data, by_row.indptr))
        return _sums(grad.contiguous(), bins, weights, offsets), None, None, None


def _sums(table: Tensor, rows: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    return embedding_bag(rows, table, offsets, mode='sum', per_sample_weights=weights.to(table.dtype), include_last_offset=True)


@torch.no_grad()
def bilinear_taps(
    rois: Tensor,
    levels: Tensor,
    shapes: Sequence[tuple[int, int]],
    scales: Sequence[float],
    output_size: tuple[int, int],
    *,
    batch_size: int,
    sampling_ratio: int,
    aligned: bool,
) -> Taps:
    """Return which cells each of R * h * w bins sums up; arguments as in `pyramid_roi_align`, `shapes` (H, W) of the levels.

    The cells are numbered by level, image, row and column.
    """
    R, (h, w) = len(rois), output_size
    sizes = torch.tensor(shapes)[levels]  # (R, 2)
    starts = torch.tensor([0, *(batch_size * H * W for H, W in shapes)]).cumsum(0)[levels]
    boxes = rois[:, 1:] * torch.tensor(scales, dtype=rois.dtype)[levels, None] - (0.5 if aligned else 0.0)
    least = 0.0 if aligned else 1.0
    first_y, count_y, weight_y = _axis(boxes[:, 1], boxes[:, 3], h, sizes[:, 0], sampling_ratio, least)
    first_x, count_x, weight_x = _axis(boxes[:, 0], boxes[:, 2], w, sizes[:, 1], sampling_ratio, least)
    widths = sizes[:, 1, None, None]
    base = (starts + rois[:, 0].long() * sizes.prod(dim=1))[:, None, None] + first_y[:, :, None] * widths + first_x[:, None, :]

    def of_bins(values: Tensor) -> Tensor:
        return values.expand(R, h, w).reshape(-1)

    columns = of_bins(count_x[:, None, :])
    begin_y, begin_x = (torch.arange(R * n).view(R, n) * weights.shape[2] for n, weights in ((h, weight_y), (w, weight_x)))
    # A bin is rows of cells, and a row so many columns.
    of_row, row = _numbered(of_bins(count_y[:, :, None]))
    row_cells = of_bins(base)[of_row] + row * of_bins(widths)[of_row]
    row_weights = weight_y.view(-1)[of_bins(begin_y[:, :, None])[of_row] + row]
    of_tap, column = _numbered(columns[of_row])
    weights = row_weights[of_tap] * weight_x.view(-1)[of_bins(begin_x[:, None, :])[of_row][of_tap] + column]
    counts = (count_y[:, :, None] * count_x[:, None, :]).view(-1)
    return Taps(row_cells[of_tap] + column, weights, torch.cat([counts.new_zeros(1), counts.cumsum(0)]))


def _numbered(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return for parts of groups, of which there are `counts` (N,), the group, and the number within it from 0."""
    of_part = torch.arange(len(counts)).repeat_interleave(counts)
    starts = counts.cumsum(0) - counts
    return of_part, torch.arange(len(of_part)) - starts[of_part]


def _axis(
    low: Tensor, high: Tensor, num_bins: int, length: Tensor, sampling_ratio: int, least: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return for the bins (R, num_bins) along one side the first cell, how many cells, and their weights (R, num_bins, K).

    Args:
        low: (R,) where the boxes begin, in cells, the centre of the first one at 0.
        high: (R,) where they end.
        num_bins: of a box.
        length: (R,) cells of the map along this side.
        sampling_ratio: samples of a bin; 0: as many as it spans cells, rounded up.
        least: side of a box at least, in cells.
    """
    side = (high - low).clamp(min=least) if least else high - low
    step = side / num_bins
    samples = step.ceil().clamp(min=0) if sampling_ratio <= 0 else torch.full_like(step, sampling_ratio)
    most = max(int(samples.max()), 1)
    k = torch.arange(most)
    places = torch.arange(num_bins)[:, None] + ((k + 0.5) / samples.clamp(min=1)[:, None])[:, None]  # (R, num_bins, most)
    places = low[:, None, None] + step[:, None, None] * places
    counts = (k < samples[:, None])[:, None] & (places >= -1) & (places <= length[:, None, None])
    places = places.clamp(min=0).minimum(length[:, None, None] - 1)
    first = places.amin(dim=2).floor()
    last = places.where(counts, 0).amax(dim=2).floor().maximum(first) + 1
    num_cells = (last.minimum(length[:, None] - 1) - first + 1).long()
    cells = first[..., None] + torch.arange(int(num_cells.max()))  # (R, num_bins, K)
    tents = (1 - (places[..., None, :] - cells[..., None]).abs()).clamp(min=0)
    weights = (tents * counts[..., None, :]).sum(dim=-1) / samples.clamp(min=1)[:, None, None]
    return first.long(), num_cells, weights.float()
