"""From an image with a box to the crop of that box."""

# Letters: N instances (1 for top-down), K keypoints.
from typing import Any

from mmpose_lite.errors import ConfigError
from mmpose_lite.ops.warp import affine_matrix, apply_affine, fix_aspect_ratio, warp_affine
from mmpose_lite.registry import TRANSFORMS
from mmpose_lite.structures import bbox_xyxy_to_cs
from mmpose_lite.structures.sizes import checked_size


@TRANSFORMS.register_module()
class GetBBoxCenterScale:
    """Turn the box into a centre and a padded scale.

    Required keys: bboxes (1, 4) xyxy px.
    Added keys: bbox_center (2,) px, bbox_scale (2,) (w, h) px.

    Args:
        padding: factor on the box's width and height.
    """

    def __init__(self, *, padding: float = 1.25) -> None:
        if padding <= 0:
            raise ValueError(f'GetBBoxCenterScale: `padding` must be positive, got {padding}.')
        self.padding = padding

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        if len(results['bboxes']) != 1:
            raise ConfigError(
                f'GetBBoxCenterScale: a top-down sample has one box, got {len(results["bboxes"])} in {results.get("img_path")}; '
                "give the dataset data_mode='topdown', or take steps for whole images."
            )
        results['bbox_center'], results['bbox_scale'] = bbox_xyxy_to_cs(results['bboxes'][0], self.padding)
        return results


@TRANSFORMS.register_module()
class TopdownAffine:
    """Cut the (rotated) box out of the image, at the size of the network's input. Pixels outside the image are black.

    Required keys: img, bbox_center, bbox_scale, and optionally bbox_rotation (degrees), keypoints (1, K, 2).
    Modified keys: img (H, W, 3) uint8, bbox_scale (grown to the aspect ratio of the input).
    Added keys: input_size (w, h), and keypoints_input (1, K, 2) in crop px if there are keypoints.

    Args:
        input_size: (w, h) of the crop in px.
        use_udp: use the matrix of UDP; pair it with `HeatmapCodec(variant='udp')`.
    """

    def __init__(self, input_size: tuple[int, int], *, use_udp: bool = False) -> None:
        self.input_size = checked_size('TopdownAffine', 'input_size', input_size)
        self.use_udp = use_udp

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        W, H = self.input_size
        results['bbox_scale'] = scale = fix_aspect_ratio(results['bbox_scale'], W / H)
        try:
            matrix = affine_matrix(
                results['bbox_center'], scale, results.get('bbox_rotation', 0.0), self.input_size, udp=self.use_udp
            )
        except ValueError as error:
            raise ValueError(f'{results.get("img_path")}, annotation {results.get("ann_id")}: {error}') from error
        results['img'] = warp_affine(results['img'], matrix, self.input_size)
        if 'keypoints' in results:
            results['keypoints_input'] = apply_affine(results['keypoints'], matrix)
        results['input_size'] = self.input_size
        return results
