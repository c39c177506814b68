"""The non-local block: every cell looks at all cells of its map."""

# Letters: B batch, C channels, D channels of the comparison, H x W cells.
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.registry import LAYERS


@LAYERS.register_module()
class NonLocal2d(nn.Module):
    """x plus a 1x1 convolution of the mean of all cells, weighted by the softmax of their products: the embedded Gaussian.

    Source: Wang et al., Non-local Neural Networks, CVPR 2018, Sec. 3, arXiv:1711.07971. Names and keys are mmcv's.

    Args:
        channels: C.
        reduction: C / D.
        use_scale: divide the products by the root of D.

    Raises:
        ValueError: `reduction` is out of range.
    """

    key = 'non_local_block'  # of the layer in a block, in published checkpoints

    def __init__(self, channels: int, *, reduction: int = 2, use_scale: bool = True) -> None:
        super().__init__()
        if not 1 <= reduction <= channels:
            raise ValueError(f'NonLocal2d: `reduction` must be 1 to the number of channels ({channels}), got {reduction}.')
        inner = channels // reduction
        self.scale = inner**-0.5 if use_scale else 1.0
        self.g = ConvModule(channels, inner, with_norm=False, act=None)
        self.conv_out = ConvModule(inner, channels, with_norm=False, act=None)
        self.theta = ConvModule(channels, inner, with_norm=False, act=None)
        self.phi = ConvModule(channels, inner, with_norm=False, act=None)
        self.init_weights()

    def init_weights(self) -> None:
        """Set a standard deviation of 0.01, and 0 in `conv_out`: the block starts as its input."""
        for module in (self.g, self.theta, self.phi):
            nn.init.normal_(module.conv.weight, std=0.01)
            nn.init.zeros_(module.conv.bias)
        nn.init.zeros_(self.conv_out.conv.weight)
        nn.init.zeros_(self.conv_out.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W) of (B, C, H, W); the H * W by H * W weights are not kept where torch's kernel can do without."""
        query, key, value = (conv(x).flatten(2).transpose(1, 2).unsqueeze(1) for conv in (self.theta, self.phi, self.g))
        mean = functional.scaled_dot_product_attention(query, key, value, scale=self.scale)  # (B, 1, H * W, D)
        return x + self.conv_out(mean[:, 0].transpose(1, 2).unflatten(2, x.shape[2:]))
