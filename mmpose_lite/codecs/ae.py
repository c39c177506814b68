"""Several people as heatmaps and tags: associative embedding."""

# Letters: B batch, N people of one image, K keypoints, L numbers of a tag, H x W heatmap cells, M peaks kept per keypoint.
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmpose_lite.codecs.pose_groups import PoseGroups
from mmpose_lite.ops.ae import best_cells, cell_points, find_peaks, group_by_tags, shift_to_higher
from mmpose_lite.ops.heatmap import render_gaussians
from mmpose_lite.registry import CODECS
from mmpose_lite.structures import KeypointMeta
from mmpose_lite.structures.sizes import checked_size


class AETargets(NamedTuple):
    """What a network with tags learns from.

    Attributes:
        heatmaps: (B, K, H, W) in [0, 1].
        indices: (B, N, K) int64, the cell y * W + x of each keypoint, where its tag is read.
        weights: (B, N, K), 1 where the keypoint is labelled and inside the map, else 0 (its index is then 0).
    """

    heatmaps: Tensor
    indices: Tensor
    weights: Tensor


@CODECS.register_module()
class AECodec:
    """One heatmap for each keypoint, with a peak for each person, and maps of tags that are alike within a person.

    Source: Newell et al., Associative Embedding, NeurIPS 2017, arXiv:1611.05424; Cheng et al., HigherHRNet, CVPR 2020,
    arXiv:1908.10357, as published in code.

    Cell i covers the input px from i * stride to (i + 1) * stride - 1, so its centre lies at px (i + 0.5) * stride - 0.5, and the
    maps of a mirrored image need no shift.
    Differs: peaks are looked for at the network's stride; published code enlarges the maps to the input first, bilinearly, which
    leaves the highest cells where they are, and then suppresses 2 px around each.

    Args:
        input_size: (w, h) of the network's input in px.
        heatmap_size: (w, h) of the maps that are decoded, in cells. Maps of other sizes are decoded as well: a cell keeps its px.
        meta: the keypoints, anything `KeypointMeta.load` takes.
        sigma: standard deviation of the Gaussian in cells.
        keypoint_order: the K indices in the order in which keypoints are joined to people; None for `grouping_order(meta)`.
        nms_kernel_size: of the window in which a peak must be the greatest, in cells, odd.
        keypoint_thr: peaks must score more, 0 or more.
        tag_thr: a keypoint's tag must be nearer to the mean tag of its person.
        max_people: of an image; also the number of peaks kept for each keypoint.
        adjust: move points by a quarter of a cell towards the higher neighbour.
        refine: give people the keypoints they lack, where their tag fits best.

    Raises:
        ValueError: an argument is out of range, or `keypoint_order` is no order of the K keypoints.
    """

    def __init__(
        self,
        input_size: tuple[int, int],
        heatmap_size: tuple[int, int],
        *,
        meta: KeypointMeta | Mapping[str, Any] | str,
        sigma: float = 2.0,
        keypoint_order: Sequence[int] | None = None,
        nms_kernel_size: int = 3,
        keypoint_thr: float = 0.1,
        tag_thr: float = 1.0,
        max_people: int = 30,
        adjust: bool = True,
        refine: bool = True,
    ) -> None:
        self.meta = KeypointMeta.load(meta)
        K = self.meta.num_keypoints
        self.input_size = checked_size('AECodec', 'input_size', input_size)
        self.heatmap_size = checked_size('AECodec', 'heatmap_size', heatmap_size)
        for name, value in (('sigma', sigma), ('tag_thr', tag_thr), ('max_people', max_people)):
            if value <= 0:
                raise ValueError(f'AECodec: `{name}` must be positive, got {value}.')
        if keypoint_thr < 0:
            raise ValueError(f'AECodec: `keypoint_thr` must be 0 or more, got {keypoint_thr}.')
        if nms_kernel_size < 1 or nms_kernel_size % 2 == 0:
            raise ValueError(f'AECodec: `nms_kernel_size` must be odd, got {nms_kernel_size}.')
        self.keypoint_order = grouping_order(self.meta) if keypoint_order is None else tuple(keypoint_order)
        if sorted(self.keypoint_order) != list(range(K)):
            raise ValueError(
                f'AECodec: `keypoint_order` must hold each of 0 to {K - 1} once, the keypoints of `meta` ({self.meta.name}), '
                f'got {self.keypoint_order}. Leave it out for an order made of the limbs.'
            )
        self.sigma = float(sigma)
        self.nms_kernel_size = nms_kernel_size
        self.keypoint_thr = float(keypoint_thr)
        self.tag_thr = float(tag_thr)
        self.max_people = int(max_people)
        self.adjust = adjust
        self.refine = refine

    def encode(self, keypoints: Tensor, visible: Tensor, *, heatmap_size: tuple[int, int] | None = None) -> AETargets:
        """Return the targets. What lies outside the map is left out, of the heatmaps too.

        Args:
            keypoints: (B, N, K, 2) in input px.
            visible: (B, N, K), 1 where labelled, else 0.
            heatmap_size: (w, h) of the maps; None for the codec's. For networks that learn maps of several sizes.

        Raises:
            ValueError: the shapes do not fit together.
        """
        K = self.meta.num_keypoints
        if keypoints.shape[2:] != (K, 2) or visible.shape != keypoints.shape[:3]:
            raise ValueError(
                f'AECodec: `keypoints` must be (B, N, {K}, 2) and `visible` (B, N, {K}), '
                f'got {tuple(keypoints.shape)} and {tuple(visible.shape)}.'
            )
        if keypoints.shape[1] == 0:  # nobody in these images is somebody without labels
            keypoints, visible = (t.new_zeros(t.shape[0], 1, *t.shape[2:]) for t in (keypoints, visible))
        (w, h), (W, H) = self.input_size, heatmap_size or self.heatmap_size
        x = torch.floor((keypoints[..., 0] + 0.5) * (W / w))
        y = torch.floor((keypoints[..., 1] + 0.5) * (H / h))
        inside = (x >= 0) & (x < W) & (y >= 0) & (y < H) & (visible >= 0.5)
        weights = inside.to(keypoints.dtype)
        heatmaps, _ = render_gaussians(
            torch.stack((x, y), dim=-1), weights, heatmap_size=(W, H), sigma=self.sigma, snap=True, truncate=True
        )
        return AETargets(heatmaps, torch.where(inside, y * W + x, 0).long(), weights)

    def decode(self, heatmaps: Tensor, tags: Tensor) -> list[PoseGroups]:
        """Return the people of each image. A person's score is the mean of the heights of its peaks, 0 for those it lacks.

        Cells that are no finite numbers, those of a diverged network, hold nobody.

        Args:
            heatmaps: (B, K, H, W), any range; of any size: see `heatmap_size`.
            tags: (B, L * K, H, W), the K channels of the first number of the tag first.

        Raises:
            ValueError: the shapes do not fit together.
        """
        K = self.meta.num_keypoints
        fit = heatmaps.ndim == tags.ndim == 4 and heatmaps[:, :1].shape == tags[:, :1].shape
        if not fit or heatmaps.shape[1] != K or tags.shape[1] % K:
            raise ValueError(
                f'AECodec: `heatmaps` must be (B, {K}, H, W) and `tags` (B, L * {K}, H, W), '
                f'got {tuple(heatmaps.shape)} and {tuple(tags.shape)}.'
            )
        heatmaps = heatmaps.detach().float().contiguous()
        tags = tags.detach().float().unflatten(1, (-1, K)).transpose(0, 1).contiguous()
        scores, indices = find_peaks(heatmaps, kernel_size=self.nms_kernel_size, max_peaks=self.max_people)
        peaks = torch.cat((self._points(heatmaps, indices), scores[..., None], _tags_at(tags, indices)), dim=-1)
        people = [self._group(of_image) for of_image in peaks.cpu().numpy()]
        person_scores = [person[..., 2].mean(axis=1) for person in people]
        if self.refine:
            self._fill(people, heatmaps, tags)
        (w, h), (W, H) = self.input_size, self.heatmap_size
        stride = np.array((w / W, h / H), np.float32)
        return [
            PoseGroups((person[..., :2] + 0.5) * stride - 0.5, person[..., 2], score)
            for person, score in zip(people, person_scores)
        ]

    def _points(self, heatmaps: Tensor, indices: Tensor) -> Tensor:
        return shift_to_higher(heatmaps, indices) if self.adjust else cell_points(heatmaps, indices)

    def _group(self, peaks: np.ndarray) -> np.ndarray:
        """Return (N, K, 3 + L): x, y, score and tag of the people in one image's peaks (K, M, 3 + L), 0 where they lack one."""
        members = group_by_tags(
            peaks[..., 2],
            peaks[..., 3:],
            order=self.keypoint_order,
            keypoint_thr=self.keypoint_thr,
            tag_thr=self.tag_thr,
            max_people=self.max_people,
        )
        return np.where((members >= 0)[..., None], peaks[np.arange(len(peaks)), members], 0)

    def _fill(self, people: list[np.ndarray], heatmaps: Tensor, tags: Tensor) -> None:
        """Write what people lack into their arrays (N, K, 3 + L), where the heatmap is above 0 at the cell that fits best.

        Args:
            people: one array per image.
            heatmaps: (B, K, H, W).
            tags: (L, B, K, H, W).
        """
        K = heatmaps.shape[1]
        maps, person_tags = [], []
        for image, person in enumerate(people):
            has = person[..., 2:3] > 0
            lacking, keypoints = np.nonzero(~has[..., 0])
            maps.append(image * K + keypoints)
            person_tags.append((person[..., 3:].sum(axis=1) / has.sum(axis=1))[lacking])
        if not sum(len(of_image) for of_image in maps):
            return
        indices = best_cells(
            heatmaps,
            tags,
            torch.from_numpy(np.concatenate(maps)).to(heatmaps.device),
            torch.from_numpy(np.concatenate(person_tags).astype(np.float32)).to(heatmaps.device),  # doubles take thrice the time
        )
        found = torch.cat((self._points(heatmaps, indices), heatmaps.take(indices)[:, None]), dim=-1).cpu().numpy()
        found = np.where((found[:, 2:] > 0) & np.isfinite(found).all(axis=1, keepdims=True), found, 0)
        for person, filled in zip(people, np.split(found, np.cumsum([len(of_image) for of_image in maps])[:-1])):
            person[person[..., 2] == 0, :3] = filled

    def __repr__(self) -> str:
        return f'AECodec({self.meta.name}, input {self.input_size}, heatmap {self.heatmap_size}, sigma {self.sigma})'


def _tags_at(tags: Tensor, indices: Tensor) -> Tensor:
    """Return the tags (B, K, M, L) of tag maps (L, B, K, H, W) in cells (B, K, M)."""
    return tags.flatten(1)[:, indices].movedim(0, -1)


def grouping_order(meta: KeypointMeta) -> tuple[int, ...]:
    """Return the keypoints from the core of the body outwards, the legs last: for COCO the order of the published code.

    The core is what remains when the ends of the limbs are taken away again and again: for COCO head, shoulders and hips.
    """
    neighbours: list[set[int]] = [set() for _ in meta.keypoints]
    for a, b in meta.limbs:
        neighbours[a].add(b)
        neighbours[b].add(a)
    left, depth = set(range(meta.num_keypoints)), [0] * meta.num_keypoints
    while left:
        ends = {k for k in left if len(neighbours[k] & left) <= 1} or left
        left = left - ends
        for k in left:
            depth[k] += 1
    core = max(depth)
    return tuple(sorted(range(meta.num_keypoints), key=lambda k: (depth[k] < core, k in meta.lower_body, -depth[k], k)))
