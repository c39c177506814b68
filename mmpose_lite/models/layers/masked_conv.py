"""A convolution that is computed at some cells only."""

# Letters: B batch, C channels, H x W cells, k the kernel's side, n cells that are computed.
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.registry import LAYERS


@LAYERS.register_module()
class MaskedConv2d(nn.Conv2d):
    """Convolution of stride 1 whose result is computed where a mask says so, and is 0 elsewhere. In plain torch, on any device.

    Source: Wang et al., Region Proposal by Guided Anchoring, CVPR 2019, Sec. 3.3, arXiv:1901.03278. Keys are those of a
    convolution, as mmcv's.

    Args:
        in_channels: C of the input.
        out_channels: C of the result.
        kernel_size: odd.

    Raises:
        ValueError: the kernel is even.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1) -> None:
        if kernel_size % 2 == 0:
            raise ValueError(f'MaskedConv2d: `kernel_size` must be odd, got {kernel_size}.')
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (B, out_channels, H, W). With a mask the host waits for the device, to know how many cells there are.

        Args:
            x: (B, in_channels, H, W).
            mask: (B, H, W) bool; None for all cells.

        Raises:
            ValueError: the mask does not fit.
        """
        if mask is None:
            return super().forward(x)
        B, _, H, W = x.shape
        if mask.shape != (B, H, W):
            raise ValueError(f'MaskedConv2d: `mask` must be (B, H, W) = {(B, H, W)}, got {tuple(mask.shape)}.')
        image, row, column = mask.nonzero(as_tuple=True)
        k, pad = self.kernel_size[0], self.padding[0]
        windows = functional.pad(x, (pad,) * 4).unfold(2, k, 1).unfold(3, k, 1)  # a view (B, C, H, W, k, k)
        found = functional.linear(windows[image, :, row, column].flatten(1), self.weight.flatten(1), self.bias)
        out = found.new_zeros((B, H, W, self.out_channels)).index_put((image, row, column), found)
        return out.permute(0, 3, 1, 2)
