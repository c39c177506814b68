"""OKS-AP of COCO-WholeBody: of all keypoints, and of each part of the body."""

# Letters: K keypoints.
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from mmengine.logging import MMLogger

from mmpose_lite.evaluation.coco_eval import STAT_NAMES, coco_keypoint_stats
from mmpose_lite.evaluation.coco_oks import CocoMetric
from mmpose_lite.evaluation.report import text_table
from mmpose_lite.registry import METRICS
from mmpose_lite.structures import KeypointMeta

# The keypoints of each part in the order of 'wholebody133', and the part's key in files of COCO-WholeBody.
PARTS = MappingProxyType(
    dict(
        body=(slice(0, 17), 'keypoints'),
        foot=(slice(17, 23), 'foot_kpts'),
        face=(slice(23, 91), 'face_kpts'),
        lefthand=(slice(91, 112), 'lefthand_kpts'),
        righthand=(slice(112, 133), 'righthand_kpts'),
    )
)
_K = 133
_HANDS = ('lefthand', 'righthand')


@METRICS.register_module()
class CocoWholeBodyMetric(CocoMetric):
    """`CocoMetric` of the 133 keypoints of COCO-WholeBody together, and of each part of the body by itself.

    Source: Jin et al., Whole-Body Human Pose Estimation in the Wild, ECCV 2020, Sec. 5, arXiv:2007.11858, and the authors'
    evaluation (xtcocotools): a part is measured at the area of the whole person; people of whom it is not labelled are not asked
    for; a prediction in which no keypoint of it scores above 0 does not count; its score is that of the person. A prediction that
    matches nobody is medium or large by the extent of its 17 keypoints of the body.
    Keys: `STAT_NAMES` of all keypoints, and of each part: 'body/AP', 'foot/AR .5' and so on. 'hand' is the mean of both hands, as
    in the paper's table (https://github.com/jin-s13/COCO-WholeBody/issues/38).

    The arguments are those of `CocoMetric`. The file of results has each part under its own key, as the authors' tool reads it.

    Raises:
        ValueError: `meta` does not have 133 keypoints; and what `CocoMetric` raises.
    """

    default_prefix = 'coco-wholebody'

    def result_names(self) -> tuple[str, ...]:
        """Return the names of the figures, of all keypoints and of each part."""
        names = super().result_names()
        return names + tuple(f'{part}/{name}' for part in (*PARTS, 'hand') for name in names)

    def _meta(self) -> KeypointMeta:
        meta = super()._meta()
        if meta.num_keypoints != _K:
            raise ValueError(
                f"CocoWholeBodyMetric: `meta` must have the {_K} keypoints of 'wholebody133', got {meta.num_keypoints} "
                f'({meta.name!r}); CocoMetric takes any.'
            )
        return meta

    def _written(self, detections: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            detection | {key: _part(detection['keypoints'], keypoints) for keypoints, key in PARTS.values()}
            for detection in detections
        ]

    def _figures(
        self, ground_truth: Mapping[str, list[dict]], detections: list[dict[str, Any]], meta: KeypointMeta
    ) -> list[float]:
        body, _ = PARTS['body']
        detections = [dict(detection, area=_extent(_part(detection['keypoints'], body))) for detection in detections]
        figures = super()._figures(ground_truth, detections, meta)
        stats = {}
        for part, (keypoints, _) in PARTS.items():
            stats[part] = coco_keypoint_stats(
                dict(ground_truth, annotations=[_annotation_of(a, keypoints) for a in ground_truth['annotations']]),
                _detections_of(detections, keypoints),
                sigmas=meta.sigmas[keypoints],
                backend=self.backend,
            )
        left, right = (stats[hand] for hand in _HANDS)
        stats['hand'] = np.where(np.minimum(left, right) == -1, -1, (left + right) / 2)
        rows = [(part, *(f'{value:.4f}' if value != -1 else '-' for value in values)) for part, values in stats.items()]
        MMLogger.get_current_instance().info(text_table(('part', *STAT_NAMES), rows, title='CocoWholeBodyMetric'))
        return figures + [float(value) for values in stats.values() for value in values]


def _part(triplets: list[float], keypoints: slice) -> list[float]:
    """Return those of K flat triplets that belong to the part."""
    return triplets[3 * keypoints.start : 3 * keypoints.stop]


def _extent(triplets: list[float]) -> float:
    """Return the area, in px^2, of the box around flat triplets (x, y, any)."""
    return float(np.ptp(np.reshape(triplets, (-1, 3))[:, :2], axis=0).prod())


def _annotation_of(annotation: Mapping[str, Any], keypoints: slice) -> dict[str, Any]:
    """Return an annotation of `coco_ground_truth` with the keypoints of the part alone."""
    triplets = _part(annotation['keypoints'], keypoints)
    num_labelled = sum(v > 0 for v in triplets[2::3])
    return dict(annotation, keypoints=triplets, num_keypoints=num_labelled if annotation['area'] > 0 else 0)


def _detections_of(detections: list[dict[str, Any]], keypoints: slice) -> list[dict[str, Any]]:
    """Return the instances with the keypoints of the part alone, without those in which none of them scores above 0."""
    parts = [dict(detection, keypoints=_part(detection['keypoints'], keypoints)) for detection in detections]
    return [part for part in parts if any(score > 0 for score in part['keypoints'][2::3])]
