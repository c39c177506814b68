"""Smaller learning rates in earlier layers of a vision transformer."""

import re
from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from mmpose_lite.registry import OPTIM_WRAPPER_CONSTRUCTORS

OPTIONS = ('layer_decay_rate',)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Multiply the learning rate by `layer_decay_rate` for each layer between a parameter and the head.

    Patches and positions are layer 0, `backbone.layers.i` is layer i + 1, all the rest comes after the last. Biases, norms and
    positions do not decay.

    Source: Bao et al., BEiT, ICLR 2022, App. H, arXiv:2106.08254; as in mmpose. In a config:
    optim_wrapper=dict(constructor='LayerDecayOptimWrapperConstructor', paramwise_cfg=dict(layer_decay_rate=0.75), ...).

    Args:
        optim_wrapper_cfg: config of the optimizer wrapper, the optimizer with its lr and weight_decay inside.
        paramwise_cfg: dict(layer_decay_rate=...), in (0, 1].

    Raises:
        ValueError: `paramwise_cfg` has another key or no rate in (0, 1].
    """

    def __init__(self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        unknown = [key for key in self.paramwise_cfg if key not in OPTIONS]
        if unknown:
            raise ValueError(f'LayerDecayOptimWrapperConstructor: `paramwise_cfg` takes {OPTIONS}, got {unknown}.')
        rate = self.paramwise_cfg.get('layer_decay_rate', 0)
        if not 0 < rate <= 1:
            raise ValueError(
                f'LayerDecayOptimWrapperConstructor: `paramwise_cfg.layer_decay_rate` must be in (0, 1], got {rate}.'
            )
        self.rate = rate

    def add_params(self, params: list[dict[str, Any]], module: nn.Module, prefix: str = '', is_dcn_module: Any = None) -> None:
        """Append one group for each layer and weight decay to `params`; parameters without gradient are left out."""
        named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
        layers = {name: _layer_of(name) for name, _ in named}
        last = max((layer for layer in layers.values() if layer is not None), default=0) + 1
        groups: dict[tuple[int, bool], dict[str, Any]] = {}
        for name, parameter in named:
            layer = last if layers[name] is None else layers[name]
            decays = parameter.ndim > 1 and not name.endswith('pos_embed')
            if (layer, decays) not in groups:
                decay = {} if self.base_wd is None else {'weight_decay': self.base_wd * decays}
                groups[layer, decays] = {'params': [], 'lr': self.base_lr * self.rate ** (last - layer), **decay}
            groups[layer, decays]['params'].append(parameter)
        params.extend(groups.values())


def _layer_of(name: str) -> int | None:
    """Return the layer of a parameter; None for what comes after the layers."""
    if re.match(r'backbone\.(cls_token|mask_token|pos_embed|patch_embed)', name):
        return 0
    match = re.match(r'backbone\.layers\.(\d+)\.', name)
    return int(match[1]) + 1 if match else None
