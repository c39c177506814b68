"""What mask heads learn from: the masks of objects, seen through the boxes of RoIs."""

# Letters: R RoIs of all images, M objects of all images, h x w cells of a target.
from typing import Any

import torch
from torch import Tensor

from mmpose_lite.errors import ConfigError
from mmpose_lite.models.heads.roi.sampling import RoISample
from mmpose_lite.ops.masks import unpack_masks
from mmpose_lite.structures import SampleBatch


@torch.no_grad()
def mask_targets(data_samples: SampleBatch, sample: RoISample, size: tuple[int, int]) -> Tensor:
    """Return (R, h, w) targets in {0, 1}: the share of each cell that the object fills, rounded; on the device of the masks.

    Source: as mmdet crops bitmaps, by RoIAlign. One image is unpacked at a time.

    Args:
        data_samples: with the field `masks` (M, H, ceil(W / 8)), packed bits at the size of the input.
        sample: the boxes and their objects.
        size: (h, w).
    """
    from torchvision.ops import roi_align

    masks_of_images = data_samples.masks.split(data_samples.counts)
    rois = torch.cat([sample.gt_rows[:, None].to(sample.rois.dtype), sample.rois[:, 1:]], dim=1)
    targets = []
    for packed, of_image in zip(masks_of_images, rois.split(sample.num_rows), strict=True):
        if not len(packed) or not len(of_image):
            targets.append(rois.new_zeros(len(of_image), *size))
            continue
        masks = unpack_masks(packed, packed.shape[-1] * 8).to(rois.dtype)[:, None]
        targets.append(roi_align(masks, of_image, size, 1.0, 0, True)[:, 0])
    return (torch.cat(targets) >= 0.5).float()


def mask_loss(head: Any, logits: Tensor, sample: RoISample, data_samples: SampleBatch) -> dict[str, Tensor]:
    """Return the losses of a mask head, for the logits (R, C, h, w) of the RoIs of a sample.

    Raises:
        ConfigError: the batch has no masks.
    """
    if 'masks' not in data_samples:
        raise ConfigError(
            'a `mask_head` learns from masks, and the batch has none: set `with_masks=True` on the dataset, and put LoadMasks '
            'behind LoadImage in its pipeline.'
        )
    targets = mask_targets(data_samples, sample, tuple(logits.shape[2:]))
    return head.loss(logits, targets, sample.gt_labels, sample.is_positive)
