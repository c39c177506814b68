"""Several people as heatmaps and part affinity fields."""

# Letters: B batch, N people of one image, K keypoints, L limbs, H x W cells.
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmpose_lite.codecs.pose_groups import PoseGroups
from mmpose_lite.ops.heatmap import render_gaussians
from mmpose_lite.ops.paf import add_background, render_fields
from mmpose_lite.ops.paf_limbs import find_limbs
from mmpose_lite.ops.paf_peaks import find_peaks
from mmpose_lite.ops.paf_people import assemble_people, match_limbs
from mmpose_lite.registry import CODECS
from mmpose_lite.structures import KeypointMeta
from mmpose_lite.structures.sizes import checked_size


class PAFTargets(NamedTuple):
    """What a network with part affinity fields learns from.

    Attributes:
        heatmaps: (B, K, H, W) in [0, 1]; with a background (B, K + 1, H, W), the background last.
        fields: (B, 2L, H, W), vectors no longer than 1; x and y of limb l are channels 2l and 2l + 1.
    """

    heatmaps: Tensor
    fields: Tensor


@CODECS.register_module()
class PAFCodec:
    """A heatmap for each keypoint, with a peak for each person, and a field of unit vectors for each limb.

    Source: Cao et al., CVPR 2017, arXiv:1611.08050, and OpenPose, TPAMI 2019, arXiv:1812.08008.

    Cell i covers the input px from i * stride to (i + 1) * stride - 1, so its centre lies at px (i + 0.5) * stride - 0.5, and the
    maps of a mirrored image need no shift.
    Differs: peaks and limbs are read between the cells, at the network's stride; published code enlarges the maps first.

    Args:
        input_size: (w, h) of the network's input in px.
        heatmap_size: (w, h) of the targets in cells. Maps of other sizes are decoded as well: a cell keeps its px.
        meta: the keypoints and limbs, anything `KeypointMeta.load` takes.
        sigma: standard deviation of the Gaussian in cells; published 7 px at stride 8.
        limb_width: greatest distance of a limb's cells from its line, in cells; published 8 px at stride 8.
        with_background: add a heatmap that is 1 where there is no keypoint. It is learnt; decoding does not read it.
        keypoint_thr: peaks must score more; 0 or more.
        limb_thr: at a point of a limb the field's component along it must be more.
        num_samples: points of a line between two peaks, both ends included; long lines have one for each cell.
        min_support: share of these points that must be so; published as more than 0.8 of 10.
        min_keypoints: of a person; all of them where `meta` has fewer.
        min_person_score: of a person: the scores of its keypoints and limbs, summed and divided by the number of its keypoints.
        max_people: peaks kept for each keypoint of an image, the highest.

    Raises:
        ValueError: an argument is out of range, or `meta` has no limbs.
    """

    def __init__(
        self,
        input_size: tuple[int, int],
        heatmap_size: tuple[int, int],
        *,
        meta: KeypointMeta | Mapping[str, Any] | str,
        sigma: float = 0.875,
        limb_width: float = 1.0,
        with_background: bool = True,
        keypoint_thr: float = 0.1,
        limb_thr: float = 0.05,
        num_samples: int = 10,
        min_support: float = 0.9,
        min_keypoints: int = 3,
        min_person_score: float = 0.4,
        max_people: int = 128,
    ) -> None:
        self.meta = KeypointMeta.load(meta)
        if not self.meta.limbs:
            raise ValueError(f'PAFCodec: `meta` must have limbs, got {self.meta.name!r} with none. Add `limbs` to it.')
        self.input_size = checked_size('PAFCodec', 'input_size', input_size)
        self.heatmap_size = checked_size('PAFCodec', 'heatmap_size', heatmap_size)
        positive = dict(sigma=sigma, limb_width=limb_width, min_keypoints=min_keypoints, max_people=max_people)
        for name, value in positive.items():
            if value <= 0:
                raise ValueError(f'PAFCodec: `{name}` must be positive, got {value}.')
        for name, value in dict(keypoint_thr=keypoint_thr, limb_thr=limb_thr, min_person_score=min_person_score).items():
            if value < 0:
                raise ValueError(f'PAFCodec: `{name}` must be 0 or more, got {value}.')
        if num_samples < 2:
            raise ValueError(f'PAFCodec: `num_samples` must be 2 or more, got {num_samples}.')
        if not 0 < min_support <= 1:
            raise ValueError(f'PAFCodec: `min_support` must be above 0 and at most 1, got {min_support}.')
        self.sigma = float(sigma)
        self.limb_width = float(limb_width)
        self.with_background = with_background
        self.keypoint_thr = float(keypoint_thr)
        self.limb_thr = float(limb_thr)
        self.num_samples = num_samples
        self.min_support = float(min_support)
        self.min_keypoints = min(min_keypoints, self.meta.num_keypoints)
        self.min_person_score = float(min_person_score)
        self.max_people = max_people

    @property
    def num_heatmaps(self) -> int:
        """Channels of the heatmaps: K, and the background."""
        return self.meta.num_keypoints + int(self.with_background)

    @property
    def num_fields(self) -> int:
        """Channels of the fields: 2L."""
        return 2 * self.meta.num_limbs

    @property
    def stride(self) -> tuple[float, float]:
        """(x, y) size of a cell in input px."""
        (w, h), (W, H) = self.input_size, self.heatmap_size
        return w / W, h / H

    def encode(self, keypoints: Tensor, visible: Tensor) -> PAFTargets:
        """Return the targets, on the device of the keypoints, without waiting for it.

        Args:
            keypoints: (B, N, K, 2) in input px; what lies outside is drawn as far as it reaches into the maps.
            visible: (B, N, K), 1 where labelled, else 0.

        Raises:
            ValueError: the shapes do not fit together.
        """
        K = self.meta.num_keypoints
        if keypoints.ndim != 4 or keypoints.shape[2:] != (K, 2) or visible.shape != keypoints.shape[:3]:
            raise ValueError(
                f'PAFCodec: `keypoints` must be (B, N, {K}, 2) and `visible` (B, N, {K}), as {self.meta.name!r} has {K} '
                f'keypoints, got {tuple(keypoints.shape)} and {tuple(visible.shape)}.'
            )
        if keypoints.shape[1] == 0:  # nobody in these images is somebody without labels
            keypoints, visible = (t.new_zeros(t.shape[0], 1, *t.shape[2:]) for t in (keypoints, visible))
        cells = torch.stack([(keypoints[..., i] + 0.5) / self.stride[i] - 0.5 for i in (0, 1)], dim=-1)
        heatmaps, _ = render_gaussians(
            cells, visible, heatmap_size=self.heatmap_size, sigma=self.sigma, snap=False, truncate=False
        )
        fields = render_fields(cells, visible, self.meta.limbs, heatmap_size=self.heatmap_size, limb_width=self.limb_width)
        return PAFTargets(add_background(heatmaps) if self.with_background else heatmaps, fields)

    def decode(self, heatmaps: Tensor, fields: Tensor) -> list[PoseGroups]:
        """Return the people of each image, in input px, from the highest score down.

        A person's score is the sum of the scores of its keypoints and limbs, divided by K + L. Keypoints that were not found are
        0 with a score of 0. Maps that are no numbers, those of a diverged network, hold nobody.

        Args:
            heatmaps: (B, K or K + 1, H, W), any range; a last map beyond K is the background.
            fields: (B, 2L, H, W), any range.

        Raises:
            ValueError: the shapes do not fit together or to `meta`.
        """
        K, L = self.meta.num_keypoints, self.meta.num_limbs
        shape = heatmaps.shape
        if len(shape) != 4 or shape[1] not in (K, K + 1) or fields.shape != (shape[0], 2 * L, *shape[2:]):
            raise ValueError(
                f'PAFCodec: `heatmaps` must be (B, {K} or {K + 1}, H, W) and `fields` (B, {2 * L}, H, W), as {self.meta.name!r} '
                f'has {K} keypoints and {L} limbs, got {tuple(shape)} and {tuple(fields.shape)}.'
            )
        heatmap_array, field_array = (maps.detach().float().cpu().numpy() for maps in (heatmaps[:, :K], fields))
        peaks = find_peaks(heatmap_array, threshold=self.keypoint_thr, max_peaks=self.max_people)
        limbs = find_limbs(
            field_array,
            peaks,
            self.meta.limbs,
            threshold=self.limb_thr,
            num_samples=self.num_samples,
            min_support=self.min_support,
        )
        people = assemble_people(
            match_limbs(limbs),
            peaks,
            num_keypoints=K,
            num_limbs=L,
            min_keypoints=self.min_keypoints,
            min_score=self.min_person_score,
        )
        points = (peaks.points + 0.5) * np.array(self.stride, dtype=np.float32) - 0.5
        points, scores = np.append(points, [(0, 0)], axis=0).astype(np.float32), np.append(peaks.scores, np.float32(0))
        ends = np.cumsum(np.bincount(people.images, minlength=shape[0]))
        return [  # a keypoint that was not found, -1, is the zeros at the end
            PoseGroups(points[people.peaks[rows]], scores[people.peaks[rows]], people.scores[rows].astype(np.float32))
            for rows in map(slice, (0, *ends[:-1].tolist()), ends.tolist())
        ]

    def __repr__(self) -> str:
        return (
            f'PAFCodec({self.meta.name}, input {self.input_size}, heatmap {self.heatmap_size}, sigma {self.sigma}, '
            f'limb_width {self.limb_width})'
        )
