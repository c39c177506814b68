"""What several necks share: the check of their input, initial values, necks in a row."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import Sequential
from torch import Tensor, nn

from mmpose_lite.errors import ConfigError
from mmpose_lite.registry import NECKS


def check_num_maps(owner: str, feats: Sequence[Tensor], num: int) -> None:
    """Raise ConfigError unless there are `num` maps, one for each of the owner's `in_channels`."""
    if len(feats) != num:
        raise ConfigError(
            f'{owner}: `in_channels` has {num} entries, the backbone gives {len(feats)} maps; check its `out_indices`.'
        )


def init_xavier(neck: nn.Module) -> None:
    """Set Xavier's uniform initial values in convolutions; biases 0."""
    for module in neck.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class Necks(Sequential):
    """Several necks, each on the maps of the one before; `neck.0`, `neck.1` in the state dict.

    Attributes:
        out_channels: C of each map of the last neck, if it says so.
    """

    def __init__(self, cfgs: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(*(NECKS.build(cfg) for cfg in cfgs))
        self.out_channels = getattr(self[-1], 'out_channels', None)


def build_neck(cfg: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None) -> nn.Module | None:
    """Return a neck, several in a row for a list of configs, or None."""
    if cfg is None or isinstance(cfg, Mapping):
        return None if cfg is None else NECKS.build(cfg)
    if not cfg:
        raise ValueError('build_neck: `neck` must be a config, a list of one or more, or None, got an empty list.')
    return Necks(cfg)
