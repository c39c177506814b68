"""The labels of an image's pixels, predicted and true."""

from mmengine.structures import BaseDataElement


class SegDataSample(BaseDataElement):
    """One image: `pred_seg_map`, `gt_seg_map` where it is annotated, and the metainfo of its dataset and transforms.

    Both maps are (H, W) uint8 arrays of labels, in px of the original image.
    """
