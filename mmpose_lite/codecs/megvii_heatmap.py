"""Keypoints as heatmaps at several levels of sharpness, for networks that go from coarse to fine."""

# Letters: B batch, N instances of one image, K keypoints, H x W heatmap cells, L levels.
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from mmpose_lite.ops.heatmap import heatmap_maximum, patches_around
from mmpose_lite.registry import CODECS
from mmpose_lite.structures.sizes import checked_size

PEAK = 255.0  # height of a target at its keypoint


@CODECS.register_module()
class MegviiHeatmapCodec:
    """One heatmap for each keypoint and level: an impulse, blurred with the level's kernel and scaled to 255 at its cell.

    Source: Chen et al., CPN, CVPR 2018, arXiv:1711.07319, and Li et al., MSPN, Sec. 3.3, arXiv:1901.00148, as published in code.

    A keypoint belongs to the cell it lies in (it is rounded down), and a cell stands for its middle: half a cell is added when
    decoding. A mirrored image's maps therefore need no shift. Decoded scores are maximum / 255 + 0.5, as published.

    As published, the blur mirrors at the border of the map, so a neighbour of a cell near the border can exceed 255 a little.

    Args:
        input_size: (w, h) of the network's input in px.
        heatmap_size: (w, h) in cells.
        kernel_sizes: of the blur at each level, coarse to fine, odd.
        blur_kernel_size: of the smoothing before decoding, odd; None is the finest level's.

    Attributes:
        input_frame: how inputs of several sizes lie on each other, and map_frame: how their heatmaps do; see `resize_maps`.

    Raises:
        ValueError: a size is not positive, or a kernel is even.
    """

    input_frame, map_frame = 'origin', 'middle'

    def __init__(
        self,
        input_size: tuple[int, int],
        heatmap_size: tuple[int, int],
        *,
        kernel_sizes: Sequence[int] = (11, 9, 7, 5),
        blur_kernel_size: int | None = None,
    ) -> None:
        self.input_size = checked_size('MegviiHeatmapCodec', 'input_size', input_size)
        self.heatmap_size = checked_size('MegviiHeatmapCodec', 'heatmap_size', heatmap_size)
        if not kernel_sizes or any(size < 1 or size % 2 == 0 for size in kernel_sizes):
            raise ValueError(f'MegviiHeatmapCodec: `kernel_sizes` must be odd numbers, got {tuple(kernel_sizes)}.')
        blur_kernel_size = kernel_sizes[-1] if blur_kernel_size is None else blur_kernel_size
        if blur_kernel_size < 1 or blur_kernel_size % 2 == 0:
            raise ValueError(f'MegviiHeatmapCodec: `blur_kernel_size` must be odd, got {blur_kernel_size}.')
        self.kernel_sizes = tuple(kernel_sizes)
        self.blur_kernel_size = blur_kernel_size
        self._tables: dict[torch.device, tuple[Tensor, ...]] = {}

    def _on(self, device: torch.device) -> tuple[Tensor, ...]:
        """Return target profiles (L, W, W) and (L, H, H), blur matrices (W, W) and (H, H); copied to a device once."""
        if device not in self._tables:
            profiles = [np.stack([_profiles(length, k) for k in self.kernel_sizes]) for length in self.heatmap_size]
            blurs = [_blurred_impulses(length, self.blur_kernel_size, cv2.BORDER_CONSTANT).T for length in self.heatmap_size]
            self._tables[device] = tuple(torch.tensor(table, device=device) for table in (*profiles, *blurs))
        return self._tables[device]

    def encode(self, keypoints: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Return target heatmaps (B, L, K, H, W), 0 or more and 255 at the keypoint, and weights (B, K).

        A weight is `visible`, but 0 where the keypoint is outside the map.

        Args:
            keypoints: (B, N, K, 2) in input px.
            visible: (B, N, K), 1 where labelled, else 0.

        Raises:
            ValueError: the shapes do not fit together.
        """
        if keypoints.ndim != 4 or keypoints.shape[-1] != 2 or visible.shape != keypoints.shape[:3]:
            raise ValueError(
                'MegviiHeatmapCodec: `keypoints` must be (B, N, K, 2) and `visible` (B, N, K), '
                f'got {tuple(keypoints.shape)} and {tuple(visible.shape)}.'
            )
        if keypoints.shape[1] == 0:  # nobody in these images is somebody without labels
            keypoints, visible = (t.new_zeros(t.shape[0], 1, *t.shape[2:]) for t in (keypoints, visible))
        (w, h), (W, H) = self.input_size, self.heatmap_size
        # Towards zero, as published: what lies less than a cell left of or above the map counts as its border cell.
        x = torch.trunc(keypoints[..., 0] * (W / w))
        y = torch.trunc(keypoints[..., 1] * (H / h))
        inside = (x >= 0) & (x < W) & (y >= 0) & (y < H)
        drawn = inside & (visible >= 0.5)
        x_profiles, y_profiles, _, _ = self._on(keypoints.device)
        x_profile = x_profiles[:, torch.where(inside, x, 0).long()]  # (L, B, N, K, W)
        y_profile = y_profiles[:, torch.where(inside, y, 0).long()] * drawn[..., None] * PEAK
        heatmaps = (y_profile[..., :, None] * x_profile[..., None, :]).amax(dim=2)
        return heatmaps.transpose(0, 1), (visible * (inside | (visible < 0.5))).amax(dim=1)

    def decode(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Return keypoints (B, K, 2) in input px and scores (B, K).

        Args:
            heatmaps: (B, K, H, W), 255 at a perfect maximum; a map without a value above 0 gives a point left of and above
                the image.

        Raises:
            ValueError: the maps are not `heatmap_size`.
        """
        (w, h), (W, H) = self.input_size, self.heatmap_size
        if heatmaps.ndim != 4 or (heatmaps.shape[3], heatmaps.shape[2]) != self.heatmap_size:
            raise ValueError(f'MegviiHeatmapCodec: `heatmaps` must be (B, K, {H}, {W}), got {tuple(heatmaps.shape)}.')
        heatmaps = heatmaps.float().contiguous()  # a network in channels-last memory gives them map by map interleaved
        _, _, x_blur, y_blur = self._on(heatmaps.device)
        blurred = y_blur @ heatmaps @ x_blur.T
        points, _ = heatmap_maximum(blurred)
        maximum = heatmaps.amax(dim=(2, 3))
        points = torch.where((maximum > 0)[..., None], points, -1.0)
        patch = patches_around(blurred, points, 1)
        slope = torch.stack((patch[..., 1, 2] - patch[..., 1, 0], patch[..., 2, 1] - patch[..., 0, 1]), dim=-1)
        x, y = points.unbind(-1)
        # The published code leaves the two outermost cells (right and below: one) as they are, without the half cell.
        usable = (x > 1) & (x < W - 1) & (y > 1) & (y < H - 1)
        points = points + (0.25 * slope.sign() + 0.5) * usable[..., None]
        keypoints = torch.stack((points[..., 0] * (w / W), points[..., 1] * (h / H)), dim=-1)
        return keypoints, maximum / PEAK + 0.5

    def __repr__(self) -> str:
        return f'MegviiHeatmapCodec(input {self.input_size}, heatmap {self.heatmap_size}, kernels {self.kernel_sizes})'


def _blurred_impulses(length: int, kernel_size: int, border: int) -> np.ndarray:
    """Return (length, length): row c is what OpenCV's Gaussian blur makes of an impulse in cell c."""
    return cv2.GaussianBlur(np.eye(length, dtype=np.float32), (kernel_size, 1), 0, borderType=border)


def _profiles(length: int, kernel_size: int) -> np.ndarray:
    """Return (length, length): row c is the target along one axis of a keypoint in cell c, 1 at c."""
    blurred = _blurred_impulses(length, kernel_size, cv2.BORDER_DEFAULT)
    return blurred / np.diag(blurred)[:, None]
