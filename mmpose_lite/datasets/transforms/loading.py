"""Reading images."""

from typing import Any

import cv2
import numpy as np

from mmpose_lite.errors import ImageError
from mmpose_lite.registry import TRANSFORMS


def read_image(path: str) -> np.ndarray:
    """Return the (H, W, 3) uint8 BGR pixels of an image file, turned upright by its EXIF orientation.

    Grey images become three equal channels, 16-bit ones lose their low byte, an alpha channel is dropped.

    Raises:
        FileNotFoundError: there is no such file.
        ImageError: it is empty, cut off, or no image that OpenCV reads.
    """
    try:
        with open(path, 'rb') as file:
            content = file.read()
    except FileNotFoundError as error:
        raise FileNotFoundError(f'image file {path!r} does not exist; check `data_root` and `data_prefix`.') from error
    # A JPEG that breaks off decodes to an image with a grey rest: what tells is the end marker after that of the last scan.
    cut_off = content[:2] == b'\xff\xd8' and content.rfind(b'\xff\xd9') < content.rfind(b'\xff\xda')
    image = None if cut_off or not content else cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        what = 'is cut off (a JPEG without its end)' if cut_off else 'is no image that OpenCV can read'
        raise ImageError(f'image file {path!r} {what}; it holds {len(content)} bytes. Copy or download it again.')
    return image


@TRANSFORMS.register_module()
class LoadImage:
    """Read the image file, unless the image is given already (inference on arrays).

    Required keys: img_path (or img, (H, W, 3) uint8 BGR).
    Added keys: img, ori_shape (h, w).
    """

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        if 'img' not in results:
            results['img'] = read_image(results['img_path'])
        results['ori_shape'] = results['img'].shape[:2]
        return results
