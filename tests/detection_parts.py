"""A detector that needs no training on the folders of `detection_folder`: it finds the pixels of their two colours."""

from typing import Any

import cv2
import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from pycocotools import mask as mask_api
from torch import Tensor, nn

from mmpose_lite.registry import MODELS, PREPROCESSORS
from mmpose_lite.structures import ClassMeta, DetDataSample, SampleBatch


@MODELS.register_module()
class ColourDetector(BaseModel):
    """Finds the red things (label 0) and the green ones (label 1), as boxes and masks; has one weight, which a loss shrinks.

    Args:
        meta: the classes.
        with_masks: predict masks too.
    """

    def __init__(self, meta: Any, with_masks: bool = True) -> None:
        super().__init__(data_preprocessor=PREPROCESSORS.build(dict(type='DetDataPreprocessor')))
        self.class_meta = ClassMeta.load(meta)
        self.with_masks = with_masks
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, inputs: Tensor, data_samples: SampleBatch | None = None, mode: str = 'tensor') -> Any:
        """Return losses or what is found."""
        if mode == 'loss':
            return dict(loss_cls=(self.weight**2).sum(), num_objects=inputs.new_tensor(len(data_samples.labels)))
        return [self._find(image, info) for image, info in zip(inputs, data_samples.metainfo)]

    def _find(self, image: Tensor, info: dict[str, Any]) -> DetDataSample:
        h, w = info['img_shape']
        bboxes, labels, masks, sizes = [], [], [], []
        for label in range(self.class_meta.num_classes):
            strong, weak = image[label, :h, :w], image[1 - label, :h, :w]
            on = ((strong > 1.2) & (weak < 0.5)).cpu().numpy().astype(np.uint8)
            count, parts, stats, _ = cv2.connectedComponentsWithStats(on, connectivity=4)
            for number in range(1, count):
                x, y, width, height, area = stats[number].tolist()
                if area < 20:
                    continue
                zoom = np.tile(info['scale_factor'], 2)
                bboxes.append(np.array((x, y, x + width, y + height)) / zoom)
                labels.append(label)
                sizes.append(area)
                mask = cv2.resize(
                    (parts == number).astype(np.uint8), info['ori_shape'][::-1], interpolation=cv2.INTER_NEAREST_EXACT
                )
                masks.append(mask_api.encode(np.asfortranarray(mask)))
        order = np.argsort(sizes)[::-1]
        sample = DetDataSample(metainfo=info)
        found = InstanceData(
            bboxes=np.array(bboxes, np.float32).reshape(-1, 4)[order],
            scores=np.linspace(0.9, 0.5, len(order)).astype(np.float32),
            labels=np.array(labels, np.int64)[order],
        )
        if self.with_masks:
            found.masks = [masks[i] for i in order]
        sample.pred_instances = found
        return sample
