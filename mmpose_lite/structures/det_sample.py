"""What a detector finds in an image."""

from mmengine.structures import BaseDataElement


class DetDataSample(BaseDataElement):
    """One image: `pred_instances` (InstanceData), and the metainfo of its dataset and transforms.

    `pred_instances` holds, best score first, the NumPy arrays `bboxes` (N, 4) float32 xyxy in px of the original image, `scores`
    (N,) float32 and `labels` (N,) int64; of a network with a mask head also `masks`, a list of N COCO RLE dicts at the size of
    the original image.
    """
