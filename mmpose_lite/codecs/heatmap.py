"""Keypoints as Gaussian heatmaps."""

# Letters: B batch, N instances of one image, K keypoints, H x W heatmap cells.
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmpose_lite.ops.heatmap import heatmap_maximum, refine_dark, refine_quarter, refine_udp, render_gaussians
from mmpose_lite.registry import CODECS
from mmpose_lite.structures import KeypointMeta
from mmpose_lite.structures.sizes import checked_size

VARIANTS = ('msra', 'dark', 'udp')


@CODECS.register_module()
class HeatmapCodec:
    """One heatmap for each keypoint.

    Source: msra: Xiao et al., Simple Baselines, ECCV 2018, arXiv:1804.06208 (peak on a cell, decode by a quarter cell);
    dark: Zhang et al., CVPR 2020, arXiv:1910.06278 (peak between cells, decode by a Newton step);
    udp: Huang et al., CVPR 2020, arXiv:1911.07524 (sizes count the gaps between cell centres, w - 1; use with UDP affine crops).

    `heatmap_size` may be `input_size`: targets at full resolution, made there and never resized. A resized target is another one:
    interpolation averages the peak with its lower neighbours, so that it is no longer 1, and lower between cells than on them.

    Args:
        input_size: (w, h) of the network's input in px.
        heatmap_size: (w, h) in cells.
        sigma: standard deviation of the Gaussian in cells; one for all keypoints, or K.
        sigma_meta: keypoints (anything `KeypointMeta.load` takes) whose OKS sigmas s share `sigma` out: keypoint k gets
            sigma * s_k / mean(s), so that an eye's target is sharper than a hip's. None for none.
        variant: 'msra', 'dark' or 'udp'.
        blur_kernel_size: of the smoothing before a Newton step, odd; 11 fits sigma 2.

    Attributes:
        input_frame: how inputs of several sizes lie on each other, and map_frame: how their heatmaps do; see `resize_maps`.

    Raises:
        ValueError: a size or sigma is not positive, `sigma_meta` comes with several sigmas, the variant is unknown, or the
            kernel is even.
    """

    def __init__(
        self,
        input_size: tuple[int, int],
        heatmap_size: tuple[int, int],
        *,
        sigma: float | Sequence[float] = 2.0,
        sigma_meta: KeypointMeta | Mapping[str, Any] | str | None = None,
        variant: str = 'msra',
        blur_kernel_size: int = 11,
    ) -> None:
        self.input_size = checked_size('HeatmapCodec', 'input_size', input_size)
        self.heatmap_size = checked_size('HeatmapCodec', 'heatmap_size', heatmap_size)
        sigmas = (sigma,) if isinstance(sigma, int | float) else tuple(sigma)
        if not sigmas or min(sigmas) <= 0:
            raise ValueError(f'HeatmapCodec: `sigma` must be a positive number or one for each keypoint, got {sigma}.')
        if sigma_meta is not None:
            if not isinstance(sigma, int | float):
                raise ValueError(
                    f'HeatmapCodec: `sigma_meta` shares out one `sigma`, got {len(sigmas)} of them. Give one or the other.'
                )
            shares = KeypointMeta.load(sigma_meta).sigmas
            sigmas = tuple(sigma * share * len(shares) / sum(shares) for share in shares)
        if variant not in VARIANTS:
            raise ValueError(f'HeatmapCodec: `variant` must be one of {VARIANTS}, got {variant!r}.')
        if blur_kernel_size < 1 or blur_kernel_size % 2 == 0:
            raise ValueError(f'HeatmapCodec: `blur_kernel_size` must be odd, got {blur_kernel_size}.')
        self.sigma = float(sigmas[0]) if len(sigmas) == 1 else sigmas
        self._sigmas: dict[torch.device, Tensor] = {}
        self.variant = variant
        self.input_frame = self.map_frame = 'corners' if variant == 'udp' else 'origin'
        self.blur_kernel_size = blur_kernel_size

    def _cell_size(self) -> tuple[float, float]:
        """Return the (x, y) size of a cell in input px."""
        gap = 1 if self.variant == 'udp' else 0
        (w, h), (W, H) = self.input_size, self.heatmap_size
        return (w - gap) / max(W - gap, 1), (h - gap) / max(H - gap, 1)

    def _sigma_on(self, like: Tensor) -> float | Tensor:
        """Return the sigma, or K of them on the device of `like`, where they are copied once."""
        if isinstance(self.sigma, float):
            return self.sigma
        if like.device not in self._sigmas:
            self._sigmas[like.device] = torch.tensor(self.sigma, dtype=like.dtype, device=like.device)
        return self._sigmas[like.device]

    def encode(self, keypoints: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Return target heatmaps (B, K, H, W) in [0, 1] and weights (B, K) in [0, 1].

        Args:
            keypoints: (B, N, K, 2) in input px.
            visible: (B, N, K), 1 where labelled, else 0.

        Raises:
            ValueError: the shapes do not fit together.
        """
        if keypoints.ndim != 4 or keypoints.shape[-1] != 2 or visible.shape != keypoints.shape[:3]:
            raise ValueError(
                'HeatmapCodec: `keypoints` must be (B, N, K, 2) and `visible` (B, N, K), '
                f'got {tuple(keypoints.shape)} and {tuple(visible.shape)}.'
            )
        if not isinstance(self.sigma, float) and keypoints.shape[2] != len(self.sigma):
            raise ValueError(
                f'HeatmapCodec: `sigma` must be one number or one for each keypoint ({keypoints.shape[2]}), '
                f'got {len(self.sigma)}.'
            )
        if keypoints.shape[1] == 0:  # nobody in these images is somebody without labels
            keypoints, visible = (t.new_zeros(t.shape[0], 1, *t.shape[2:]) for t in (keypoints, visible))
        cells = _scaled(keypoints, *(1 / size for size in self._cell_size()))
        heatmaps, weights = render_gaussians(
            cells,
            visible,
            heatmap_size=self.heatmap_size,
            sigma=self._sigma_on(keypoints),
            snap=self.variant == 'msra',
            truncate=self.variant != 'dark',
        )
        return heatmaps, weights.amax(dim=1)

    def decode(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Return keypoints (B, K, 2) in input px and scores (B, K), the height of each maximum.

        Args:
            heatmaps: (B, K, H, W), any range; a map without a value above 0 gives a point left of and above the image.

        Raises:
            ValueError: the maps are not `heatmap_size`.
        """
        if heatmaps.ndim != 4 or (heatmaps.shape[3], heatmaps.shape[2]) != self.heatmap_size:
            W, H = self.heatmap_size
            raise ValueError(f'HeatmapCodec: `heatmaps` must be (B, K, {H}, {W}), got {tuple(heatmaps.shape)}.')
        heatmaps = heatmaps.float().contiguous()  # a network in channels-last memory gives them map by map interleaved
        points, scores = heatmap_maximum(heatmaps)
        if self.variant == 'msra':
            points = refine_quarter(points, heatmaps)
        elif self.variant == 'dark':
            points = refine_dark(points, heatmaps, kernel_size=self.blur_kernel_size)
        else:
            points = refine_udp(points, heatmaps, kernel_size=self.blur_kernel_size)
            # mmpose's convention: a UDP point is a share of the W - 1 gaps, spread over w px.
            (w, h), (W, H) = self.input_size, self.heatmap_size
            return _scaled(points, w / max(W - 1, 1), h / max(H - 1, 1)), scores
        return _scaled(points, *self._cell_size()), scores

    def __repr__(self) -> str:
        sigma = self.sigma if isinstance(self.sigma, float) else f'{min(self.sigma):.3g} to {max(self.sigma):.3g}'
        return f'HeatmapCodec({self.variant}, input {self.input_size}, heatmap {self.heatmap_size}, sigma {sigma})'


def _scaled(points: Tensor, x_factor: float, y_factor: float) -> Tensor:
    """Scale points (..., 2) by numbers: making a tensor of them would copy from the host, which waits for the device."""
    return torch.stack((points[..., 0] * x_factor, points[..., 1] * y_factor), dim=-1)
