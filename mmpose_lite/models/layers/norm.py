"""Normalisation layers by config, named as OpenMMLab's state dicts name them: `bn1`, `gn1`, `ln1`, `in1`."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel of (B, C, H, W) maps."""

    def forward(self, x: Tensor) -> Tensor:
        x = functional.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


# type -> name in the state dict, class, arguments a config may set
_NORMS: dict[str, tuple[str, type[nn.Module], tuple[str, ...]]] = {
    'BN': ('bn', nn.BatchNorm2d, ('eps', 'momentum', 'affine')),
    'SyncBN': ('bn', nn.SyncBatchNorm, ('eps', 'momentum', 'affine')),
    'GN': ('gn', nn.GroupNorm, ('num_groups', 'eps', 'affine')),
    'LN2d': ('ln', LayerNorm2d, ('eps', 'elementwise_affine')),
    'LN': ('ln', LayerNorm2d, ('eps', 'elementwise_affine')),  # mmcv's would be over the last axis of maps, W
    'IN': ('in', nn.InstanceNorm2d, ('eps', 'momentum', 'affine')),
}


def build_norm_layer(norm_cfg: Mapping[str, Any] | None, num_features: int, *, postfix: int | str = '') -> tuple[str, nn.Module]:
    """Return a normalisation layer for `num_features` channels and the name under which its owner registers it.

    Args:
        norm_cfg: `type` ('BN', 'SyncBN', 'GN', 'IN', or 'LN', also called 'LN2d': over the channels of each cell), the arguments
            of that layer, and `requires_grad` (True); None is `dict(type='BN')`.
        num_features: C of the (B, C, H, W) maps.
        postfix: appended to the name: 1 makes `bn1`.

    Raises:
        ValueError: the type or an argument is unknown, or GN has no `num_groups`.
    """
    args = dict(norm_cfg or {'type': 'BN'})
    kind = args.pop('type', None)
    if kind not in _NORMS:
        raise ValueError(f'build_norm_layer: `type` must be one of {list(_NORMS)}, got {kind!r}.')
    requires_grad = args.pop('requires_grad', True)
    name, cls, known = _NORMS[kind]
    unknown = [key for key in args if key not in known]
    if unknown:
        raise ValueError(f'build_norm_layer: {kind} takes {[*known, "requires_grad"]}, got {unknown}.')
    if kind == 'GN':
        if 'num_groups' not in args:
            raise ValueError('build_norm_layer: GN needs `num_groups`, e.g. dict(type="GN", num_groups=32).')
        layer = cls(args.pop('num_groups'), num_features, **args)
    else:
        layer = cls(num_features, **args)
    layer.requires_grad_(requires_grad)
    return f'{name}{postfix}', layer
