"""The last step: what of a sample goes to the training process."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmpose_lite.registry import TRANSFORMS

META_KEYS = (
    'img_path',
    'img_id',
    'ann_id',
    'category_id',
    'ori_shape',
    'input_size',
    'bbox_center',
    'bbox_scale',
    'bbox_rotation',
    'warp_matrix',
    'flip',
)
INSTANCE_KEYS = (
    'bboxes',
    'bboxes_input',
    'bbox_scores',
    'category_ids',
    'keypoints',
    'keypoints_input',
    'keypoints_visible',
    'areas',
    'head_sizes',
)
MAP_KEYS = ('loss_mask',)


@TRANSFORMS.register_module()
class PackPoseInputs:
    """Keep what crosses to the training process: uint8 pixels and a few numbers.

    Required keys: img.
    Added keys (the only ones left): inputs (H, W, 3) uint8, instances (name -> (N, ...) array), maps (name -> array of the whole
    image), metainfo.

    Args:
        meta_keys: added to the metainfo of each image, where the sample has them, beside the usual ones.
        instance_keys: per-instance arrays added to the usual ones.
        map_keys: per-image arrays added to the usual ones.
    """

    def __init__(self, *, meta_keys: Sequence[str] = (), instance_keys: Sequence[str] = (), map_keys: Sequence[str] = ()) -> None:
        self.meta_keys = (*META_KEYS, *meta_keys)
        self.instance_keys = (*INSTANCE_KEYS, *instance_keys)
        self.map_keys = (*MAP_KEYS, *map_keys)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        return dict(
            inputs=np.ascontiguousarray(results['img']),
            instances={key: results[key] for key in self.instance_keys if key in results},
            maps={key: results[key] for key in self.map_keys if key in results},
            metainfo={key: results[key] for key in self.meta_keys if key in results},
        )
