"""How backbones start and train: initial values, frozen parts, batch norms held in eval mode."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmpose_lite.models.layers.deform_conv import DeformConv2d
from mmpose_lite.models.layers.non_local import NonLocal2d
from mmpose_lite.models.pretrained import load_pretrained


def checked_indices(owner: str, out_indices: Sequence[int], num: int, *, what: str = 'stages 0') -> tuple[int, ...]:
    """Return which of `num` maps a backbone gives, rising.

    Args:
        owner: the class that an error names.
        out_indices: as the config has them.
        num: maps there are.
        what: what is counted, and its first.

    Raises:
        ValueError: there are none, one is not there, or one is named twice.
    """
    given = tuple(out_indices)
    if not given or not all(0 <= i < num for i in given):
        raise ValueError(f'{owner}: `out_indices` must be {what} to {num - 1}, got {given}.')
    if len(set(given)) != len(given):
        raise ValueError(f'{owner}: `out_indices` must be different ones, got {given}.')
    return tuple(sorted(given))


def freeze(modules: Iterable[nn.Module]) -> None:
    """Take the gradient from every parameter of the modules, and put them into eval mode, in which `hold_eval` keeps them."""
    for module in modules:
        module.requires_grad_(False).eval()


def hold_eval(backbone: nn.Module, frozen: Iterable[nn.Module], *, norm_eval: bool) -> None:
    """Put the frozen modules, and with `norm_eval` every batch norm, into eval mode; call it at the end of `train`."""
    for module in frozen:
        module.eval()
    if norm_eval:
        for module in backbone.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def init_he(backbone: nn.Module) -> None:
    """Set He's normal initial values (fan out) in convolutions, 1 and 0 in norms, 0 in biases.

    Source: He et al., Delving Deep into Rectifiers, ICCV 2015, Sec. 2.2, arXiv:1502.01852.
    """
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, _BatchNorm | nn.GroupNorm | nn.LayerNorm) and module.weight is not None:
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    for module in backbone.modules():  # afterwards: what starts at 0 in these is a plain convolution too
        if isinstance(module, DeformConv2d | NonLocal2d):
            module.init_weights()


def init_residual(backbone: nn.Module, init_cfg: Mapping[str, Any] | None, *, zero_init_residual: bool) -> None:
    """Set He's initial values, then load what `init_cfg` names; without it, `zero_init_residual` makes blocks their shortcut.

    A block is a module with `last_norm`, the norm at the end of its branch.
    """
    init_he(backbone)
    if init_cfg is not None:
        load_pretrained(backbone, init_cfg)
    elif zero_init_residual:
        for module in backbone.modules():
            if getattr(getattr(module, 'last_norm', None), 'weight', None) is not None:
                nn.init.zeros_(module.last_norm.weight)
