"""Dilated convolutions in a row: do they see every pixel of their field, or a grid with holes?"""

from collections.abc import Sequence


def gridding_holes(dilations: Sequence[int], kernel_size: int = 3) -> list[int]:
    """Return the distances, along one axis, within the field of convolutions in a row at which no pixel has an influence.

    Source: Wang et al., Understanding Convolution for Semantic Segmentation, WACV 2018, Sec. 3.2, arXiv:1702.08502.
    Differs: counts the field itself; the paper's bound on M_2 misses rates with a common factor, which its text forbids.

    Args:
        dilations: of each convolution.
        kernel_size: of all of them, odd.

    Returns:
        Distances in cells, rising; [] where the field is whole, as for dilations 1, 2, 5.
    """
    reach = kernel_size // 2
    seen = {0}
    for dilation in dilations:
        seen = {offset + dilation * step for offset in seen for step in range(-reach, reach + 1)}
    return [offset for offset in range(max(seen)) if offset not in seen]
