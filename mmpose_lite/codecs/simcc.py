"""Keypoints as two 1-D labels, one along x and one along y."""

# Letters: B batch, N instances of one image, M = B * N, K keypoints, Wx and Wy bins along x and y.
from collections.abc import Sequence

import torch
from torch import Tensor

from mmpose_lite.ops.simcc import Labels, refine_simcc_dark, simcc_maximum
from mmpose_lite.registry import CODECS
from mmpose_lite.structures.sizes import checked_size

SMOOTHING_TYPES = ('gaussian', 'standard')


@CODECS.register_module()
class SimCCCodec:
    """Each coordinate is a class: one of the bins into which the input's width or height is cut.

    Source: Li et al., SimCC: a Simple Coordinate Classification Perspective for Human Pose Estimation, ECCV 2022, Sec. 3,
    arXiv:2107.03332. Gaussian labels without `normalize`: Jiang et al., RTMPose, Sec. 3.3.2, arXiv:2303.07399.

    Args:
        input_size: (w, h) of the network's input in px.
        smoothing_type: 'gaussian', or 'standard': 1 - label_smooth_weight at the keypoint's bin, the rest spread evenly.
        sigma: standard deviation of the Gaussian in bins, or (along x, along y).
        simcc_split_ratio: bins to a px.
        label_smooth_weight: of 'standard' smoothing, in [0, 1]; 0 gives one-hot labels.
        normalize: scale the Gaussian to a sum of 1 instead of a peak of 1.
        use_dark: decode between the bins by a Newton step.

    Attributes:
        num_bins: (Wx, Wy).

    Raises:
        ValueError: a size or sigma is not positive, the ratio leaves no bin, or the smoothing is unknown or out of range.
    """

    def __init__(
        self,
        input_size: tuple[int, int],
        *,
        smoothing_type: str = 'gaussian',
        sigma: float | Sequence[float] = 6.0,
        simcc_split_ratio: float = 2.0,
        label_smooth_weight: float = 0.0,
        normalize: bool = True,
        use_dark: bool = False,
    ) -> None:
        self.input_size = checked_size('SimCCCodec', 'input_size', input_size)
        if smoothing_type not in SMOOTHING_TYPES:
            raise ValueError(f'SimCCCodec: `smoothing_type` must be one of {SMOOTHING_TYPES}, got {smoothing_type!r}.')
        sigmas = (sigma, sigma) if isinstance(sigma, int | float) else tuple(sigma)
        if len(sigmas) != 2 or min(sigmas) <= 0:
            raise ValueError(f'SimCCCodec: `sigma` must be one or two positive numbers, got {sigma}.')
        if simcc_split_ratio <= 0 or round(min(input_size) * simcc_split_ratio) < 1:
            raise ValueError(f'SimCCCodec: `simcc_split_ratio` must be positive and leave a bin, got {simcc_split_ratio}.')
        if not 0 <= label_smooth_weight <= 1:
            raise ValueError(f'SimCCCodec: `label_smooth_weight` must be in [0, 1], got {label_smooth_weight}.')
        if label_smooth_weight > 0 and smoothing_type != 'standard':
            raise ValueError(
                f"SimCCCodec: `label_smooth_weight` must be 0 unless smoothing_type='standard', got {label_smooth_weight}."
            )
        self.smoothing_type = smoothing_type
        self.sigma = (float(sigmas[0]), float(sigmas[1]))
        self.simcc_split_ratio = float(simcc_split_ratio)
        self.label_smooth_weight = label_smooth_weight
        self.normalize = normalize
        self.use_dark = use_dark
        self.num_bins = (round(input_size[0] * simcc_split_ratio), round(input_size[1] * simcc_split_ratio))

    def encode(self, keypoints: Tensor, visible: Tensor) -> tuple[Labels, Tensor]:
        """Return target labels ((M, K, Wx), (M, K, Wy)) in [0, 1] and weights (M, K) in [0, 1].

        Args:
            keypoints: (B, N, K, 2) in input px.
            visible: (B, N, K), 1 where labelled, else 0.

        Raises:
            ValueError: the shapes do not fit together.
        """
        if keypoints.ndim != 4 or keypoints.shape[-1] != 2 or visible.shape != keypoints.shape[:3]:
            raise ValueError(
                'SimCCCodec: `keypoints` must be (B, N, K, 2) and `visible` (B, N, K), '
                f'got {tuple(keypoints.shape)} and {tuple(visible.shape)}.'
            )
        bins, visible = torch.round(keypoints.flatten(0, 1) * self.simcc_split_ratio), visible.flatten(0, 1)
        inside = torch.isfinite(bins).all(dim=-1)
        for axis in (0, 1):
            # Gaussians may stand outside as long as their 3 sigma, taken as the published code does, reach a bin.
            reach = 3 * self.sigma[axis] if self.smoothing_type == 'gaussian' else 0.0
            far = bins[..., axis] + (reach + 1 if reach else 0)
            inside = inside & (bins[..., axis] - reach < self.num_bins[axis]) & (far >= 0)
        drawn = (inside & (visible >= 0.5))[..., None]
        center = torch.nan_to_num(bins)
        x, y = (torch.where(drawn, self._label(center[..., axis, None], axis), 0.0) for axis in (0, 1))
        return (x, y), visible * inside

    def _label(self, center: Tensor, axis: int) -> Tensor:
        """Return the label (M, K, W) of bins (M, K, 1)."""
        W = self.num_bins[axis]
        bins = torch.arange(W, device=center.device, dtype=center.dtype)
        if self.smoothing_type == 'standard':
            weight = self.label_smooth_weight
            return torch.where(bins == center, 1.0 - weight, weight / max(W - 1, 1))
        sigma = self.sigma[axis]
        label = torch.exp(-((bins - center) ** 2) / (2 * sigma**2))
        return label / (sigma * (2 * torch.pi) ** 0.5) if self.normalize else label

    def decode(self, labels: Labels) -> tuple[Tensor, Tensor]:
        """Return keypoints (M, K, 2) in input px and scores (M, K), the smaller of the two maxima.

        Args:
            labels: (M, K, Wx) and (M, K, Wy), any range; where one is the same everywhere the point is left of and above the
                image.

        Raises:
            ValueError: the labels do not have `num_bins`.
        """
        x, y = labels
        if x.ndim != 3 or y.ndim != 3 or (x.shape[-1], y.shape[-1]) != self.num_bins:
            Wx, Wy = self.num_bins
            raise ValueError(
                f'SimCCCodec: `labels` must be (M, K, {Wx}) and (M, K, {Wy}), got {tuple(x.shape)}, {tuple(y.shape)}.'
            )
        labels = (x.float(), y.float())
        points, scores = simcc_maximum(labels)
        if self.use_dark:
            refined = (
                refine_simcc_dark(points[..., axis], labels[axis], kernel_size=_blur_kernel_size(self.sigma[axis]))
                for axis in (0, 1)
            )
            points = torch.stack(tuple(refined), dim=-1)
        return points / self.simcc_split_ratio, scores

    def __repr__(self) -> str:
        return f'SimCCCodec({self.smoothing_type}, input {self.input_size}, bins {self.num_bins}, sigma {self.sigma})'


def _blur_kernel_size(sigma: float) -> int:
    """Return the odd size of the kernel whose standard deviation, by OpenCV's rule, is nearest below sigma; as in mmpose."""
    size = int((sigma * 20 - 7) // 3)
    return max(size - (size % 2 == 0), 1)
