"""Gaussian heatmaps of keypoints, and keypoints of heatmaps."""

# Letters: B batch, N instances of one image, K keypoints, H x W heatmap cells. Points (x, y) are in cells: 0 is a cell's centre.
from functools import reduce

import torch
from torch import Tensor


def render_gaussians(
    points: Tensor, visible: Tensor, *, heatmap_size: tuple[int, int], sigma: float | Tensor, snap: bool, truncate: bool
) -> tuple[Tensor, Tensor]:
    """Draw each keypoint as a Gaussian with peak 1; where people overlap the larger value stays.

    Args:
        points: (B, N, K, 2) in cells.
        visible: (B, N, K), below 0.5 is not drawn.
        heatmap_size: (w, h) of the maps.
        sigma: standard deviation in cells, one for all or (K,).
        snap: put the peak on the nearest cell, so that it is exactly 1.
        truncate: zero beyond the square of 3 sigma around the nearest cell.

    Returns:
        Heatmaps (B, K, H, W) in [0, 1], and `visible` (B, N, K) with 0 where the 3-sigma square misses the map altogether.
    """
    W, H = heatmap_size
    sigma = sigma[:, None] if isinstance(sigma, Tensor) else sigma  # beside the axis of x and y, or of cells
    radius = 3 * sigma
    cell = torch.trunc(points + 0.5)  # as published: towards zero, so a point half a cell outside counts as the border cell
    # The square is what a crop of whole cells holds: from int(cell - radius) to int(cell + radius + 1), the end left out.
    near = torch.trunc(cell - radius)
    far = torch.trunc(cell + radius + 1) if truncate else cell + radius + 1
    if not truncate:
        near, far = points - radius, points + radius + 1
    inside = (near[..., 0] < W) & (near[..., 1] < H) & (far >= 0).all(dim=-1)
    drawn = inside & (visible >= 0.5) & torch.isfinite(points).all(dim=-1)
    center = torch.nan_to_num(cell if snap else points)

    def profile(length: int, axis: int) -> Tensor:
        cells = torch.arange(length, device=points.device, dtype=points.dtype)
        value = torch.exp(-((cells - center[..., axis, None]) ** 2) / (2 * sigma**2))
        if truncate:
            value = value * ((cells >= near[..., axis, None]) & (cells < far[..., axis, None]))
        return value

    x_profile, y_profile = profile(W, 0), profile(H, 1) * drawn[..., None]
    maps_of_people = (y[..., :, None] * x[..., None, :] for x, y in zip(x_profile.unbind(1), y_profile.unbind(1)))
    return reduce(torch.maximum, maps_of_people), visible * (inside | (visible < 0.5))


def heatmap_maximum(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cell (B, K, 2) of the maximum, (-1, -1) where no value is above 0, and that value (B, K)."""
    W = heatmaps.shape[3]
    flat = heatmaps.flatten(2)
    index = _argmax(flat)
    scores = flat.gather(-1, index[..., None])[..., 0]
    points = torch.stack((index % W, torch.div(index, W, rounding_mode='floor')), dim=-1).to(heatmaps.dtype)
    return torch.where((scores > 0)[..., None], points, -1.0), scores


def _argmax(values: Tensor) -> Tensor:
    """Return `values.argmax(-1)`; on the CPU NumPy finds it in a tenth of torch's time."""
    if values.device.type == 'cpu':
        return torch.from_numpy(values.detach().numpy().argmax(axis=-1))
    return values.argmax(dim=-1)


def patches_around(maps: Tensor, points: Tensor, radius: int) -> Tensor:
    """Return the (B, K, 2 radius + 1, 2 radius + 1) cells around each point; cells outside the map are 0."""
    H, W = maps.shape[2:]
    offset = torch.arange(-radius, radius + 1, device=maps.device)
    x = points[..., 0].long()[..., None] + offset
    y = points[..., 1].long()[..., None] + offset
    inside = ((y >= 0) & (y < H))[..., :, None] & ((x >= 0) & (x < W))[..., None, :]
    index = y.clamp(0, H - 1)[..., :, None] * W + x.clamp(0, W - 1)[..., None, :]
    values = maps.flatten(2).gather(2, index.flatten(2)).reshape(index.shape)
    return values * inside


def refine_quarter(points: Tensor, heatmaps: Tensor) -> Tensor:
    """Shift each maximum a quarter cell towards its higher neighbour.

    Source: Newell et al., Stacked Hourglass, ECCV 2016, Sec. 3.3, arXiv:1603.06937.
    """
    H, W = heatmaps.shape[-2:]
    patch = patches_around(heatmaps, points, 1)
    slope = torch.stack((patch[..., 1, 2] - patch[..., 1, 0], patch[..., 2, 1] - patch[..., 0, 1]), dim=-1)
    x, y = points.unbind(-1)
    # The published code leaves out cell 1 along the axis of the shift.
    usable = torch.stack(((x > 1) & (x < W - 1) & (y > 0) & (y < H), (y > 1) & (y < H - 1) & (x > 0) & (x < W)), dim=-1)
    return points + 0.25 * slope.sign() * usable


def _blurred_patches(heatmaps: Tensor, points: Tensor, kernel_size: int) -> Tensor:
    """Return the (B, K, 5, 5) cells around each point of the Gaussian-blurred maps (zeros outside the map)."""
    B, K, H, W = heatmaps.shape
    n_x, n_y = min(kernel_size + 4, W), min(kernel_size + 4, H)  # cells that the 5 x 5 are blurred from
    x, y = points[..., 0].long().flatten(), points[..., 1].long().flatten()
    left, top = (x - n_x // 2).clamp(0, W - n_x), (y - n_y // 2).clamp(0, H - n_y)
    windows = heatmaps.flatten(0, 1).unfold(1, n_y, 1).unfold(2, n_x, 1)  # every window of every map, as a view
    windows = windows[torch.arange(B * K, device=heatmaps.device), top, left]
    rows, columns = _blur_matrices(n_y, kernel_size, heatmaps), _blur_matrices(n_x, kernel_size, heatmaps)
    patches = rows[(y - top).clamp(0, n_y - 1)] @ windows @ columns[(x - left).clamp(0, n_x - 1)].mT
    return patches.reshape(B, K, 5, 5)


def _blur_matrices(length: int, kernel_size: int, like: Tensor) -> Tensor:
    """Return (length, 5, length): matrix i blurs `length` cells and keeps those from i - 2 to i + 2."""
    sigma = 0.3 * ((kernel_size - 1) * 0.5 - 1) + 0.8  # OpenCV's rule for a kernel size without sigma
    radius = kernel_size // 2
    taps = torch.arange(-radius, radius + 1, device=like.device, dtype=like.dtype)
    total = torch.exp(-(taps**2) / (2 * sigma**2)).sum()
    cell = torch.arange(length, device=like.device, dtype=like.dtype)
    kept = cell[:, None] + torch.arange(-2, 3, device=like.device, dtype=like.dtype)
    distance = kept[..., None] - cell
    return torch.exp(-(distance**2) / (2 * sigma**2)) / total * (distance.abs() <= radius)


def _newton_step(points: Tensor, gradient: Tensor, dxx: Tensor, dxy: Tensor, dyy: Tensor, eps: float, usable: Tensor) -> Tensor:
    """Return points - H^-1 g, unchanged where the Hessian is singular or `usable` is false."""
    dxx, dyy = dxx + eps, dyy + eps
    det = dxx * dyy - dxy**2
    usable = usable & (det != 0)
    det = torch.where(usable, det, torch.ones_like(det))
    gx, gy = gradient.unbind(-1)
    step = torch.stack((dyy * gx - dxy * gy, dxx * gy - dxy * gx), dim=-1) / det[..., None]
    return torch.where(usable[..., None], points - step, points)


def refine_dark(points: Tensor, heatmaps: Tensor, *, kernel_size: int = 11) -> Tensor:
    """Move each maximum to the top of the parabola through the logarithm of the blurred map (steps of two cells).

    Source: Zhang et al., DARK, CVPR 2020, Eq. 3-9, arXiv:1910.06278.
    Differs: only the cells around each maximum are blurred, and not rescaled to the old maximum; neither changes the result,
    as a factor drops out of the logarithm's derivatives.
    """
    H, W = heatmaps.shape[-2:]
    p = _blurred_patches(heatmaps, points, kernel_size).clamp(min=1e-10).log()
    x, y = points.unbind(-1)
    usable = (x > 1) & (x < W - 2) & (y > 1) & (y < H - 2)
    gradient = 0.5 * torch.stack((p[..., 2, 3] - p[..., 2, 1], p[..., 3, 2] - p[..., 1, 2]), dim=-1)
    dxx = 0.25 * (p[..., 2, 4] - 2 * p[..., 2, 2] + p[..., 2, 0])
    dyy = 0.25 * (p[..., 4, 2] - 2 * p[..., 2, 2] + p[..., 0, 2])
    dxy = 0.25 * (p[..., 3, 3] - p[..., 1, 3] - p[..., 3, 1] + p[..., 1, 1])
    return _newton_step(points, gradient, dxx, dxy, dyy, 0.0, usable)


def refine_udp(points: Tensor, heatmaps: Tensor, *, kernel_size: int = 11) -> Tensor:
    """Like `refine_dark`, with steps of one cell and the map's edge repeated.

    Source: Huang et al., UDP, CVPR 2020, Sec. 4, arXiv:1911.07524, with DARK's distribution-aware step.
    Differs: the blurred map is scaled to the old maximum by the largest of the 5 x 5 cells around it, not of the whole map.
    """
    H, W = heatmaps.shape[-2:]
    p = _blurred_patches(heatmaps, points, kernel_size)
    peak = patches_around(heatmaps, points, 0)
    p = (p * (peak / p.amax(dim=(-2, -1), keepdim=True).clamp(min=1e-12))).clamp(1e-3, 50.0).log()
    x, y = points[..., 0].clamp(0, W - 1).long(), points[..., 1].clamp(0, H - 1).long()
    right, left = torch.where(x < W - 1, 3, 2), torch.where(x > 0, 1, 2)
    below, above = torch.where(y < H - 1, 3, 2), torch.where(y > 0, 1, 2)
    flat = p.flatten(-2)

    def at(row: Tensor | int, column: Tensor | int) -> Tensor:
        index = torch.as_tensor(row * 5 + column, device=p.device).expand_as(x)
        return flat.gather(-1, index[..., None])[..., 0]

    centre, e, w, s, n = at(2, 2), at(2, right), at(2, left), at(below, 2), at(above, 2)
    gradient = 0.5 * torch.stack((e - w, s - n), dim=-1)
    dxx, dyy = e - 2 * centre + w, s - 2 * centre + n
    dxy = 0.5 * (at(below, right) - e - s + 2 * centre - w - n + at(above, left))
    eps = float(torch.finfo(torch.float32).eps)
    return _newton_step(points, gradient, dxx, dxy, dyy, eps, (points >= 0).all(dim=-1))
