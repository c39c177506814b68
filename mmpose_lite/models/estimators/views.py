"""The inputs of a detector at other sizes and mirrored, and where their px lie in the image."""

# Letters: B images, H x W px of an input.
from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor
from torch.nn import functional

from mmpose_lite.structures import SampleBatch

SIZE_FACTOR = 32  # px; the coarsest stride of backbones


def views(
    inputs: Tensor, data_samples: SampleBatch, scales: Sequence[float], *, flip: bool
) -> Iterator[tuple[Tensor, SampleBatch, bool]]:
    """Yield for each scale, and with `flip` for its mirror image, inputs, what belongs to them, and whether they are mirrored.

    Sizes are rounded to multiples of `SIZE_FACTOR`. In the metainfo, `img_shape` is the part that can hold objects (of a mirrored
    input all of its width, since what was filled up lies at the left), and `warp_matrix` leads from the image to this input.

    Args:
        inputs: (B, 3, H, W) normalised.
        data_samples: with `img_shape` and `warp_matrix` in the metainfo.
        scales: factors on the size.
        flip: see above.
    """
    H, W = inputs.shape[2:]
    for scale in scales:
        new_H, new_W = (max(round(side * scale / SIZE_FACTOR), 1) * SIZE_FACTOR for side in (H, W)) if scale != 1 else (H, W)
        scaled = inputs
        if (new_H, new_W) != (H, W):
            scaled = functional.interpolate(inputs, size=(new_H, new_W), mode='bilinear', align_corners=False)
        for mirrored in (False, True) if flip else (False,):
            metainfo = [_metainfo(m, (new_H / H, new_W / W), new_W if mirrored else None) for m in data_samples.metainfo]
            yield scaled.flip(-1) if mirrored else scaled, SampleBatch({}, [0] * len(metainfo), metainfo), mirrored


def _metainfo(metainfo: dict, factors: tuple[float, float], mirrored_width: int | None) -> dict:
    """Return the metainfo of an image in an input that is larger by (y, x) factors, and mirrored if its width is given."""
    factor_y, factor_x = factors
    h, w = metainfo['img_shape'][0] * factor_y, metainfo['img_shape'][1] * factor_x
    matrix = np.asarray(metainfo['warp_matrix'], dtype=np.float64) * [[factor_x], [factor_y]]
    if mirrored_width is not None:
        w = mirrored_width
        matrix[0] = [0, 0, mirrored_width] - matrix[0]
    return {**metainfo, 'img_shape': (h, w), 'warp_matrix': matrix.tolist()}
