"""What all networks share: the modes of a forward pass, the maps of backbone and neck, the sizes of a test."""

from collections.abc import Sequence

from torch import Tensor, nn

from mmpose_lite.models.base import BaseModel
from mmpose_lite.structures import SampleBatch

MODES = ('tensor', 'loss', 'predict')


class Network(BaseModel):
    """A subclass makes `backbone` and `neck`, and writes `forward`."""

    backbone: nn.Module
    neck: nn.Module | None

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what the heads read: maps of (B, 3, H, W) normalised inputs, finest first."""
        feats = self.backbone(inputs)
        return feats if self.neck is None else self.neck(feats)

    def check_mode(self, mode: str, data_samples: SampleBatch | None) -> None:
        """Raise ValueError if a mode is unknown, or needs `data_samples`."""
        name = type(self).__name__
        if mode not in MODES:
            raise ValueError(f'{name}: `mode` must be one of {MODES}, got {mode!r}.')
        if mode != 'tensor' and data_samples is None:
            raise ValueError(f'{name}: mode {mode!r} needs `data_samples`, what belongs to the inputs, got None.')


def as_factors(scales: float | Sequence[float]) -> tuple[float, ...]:
    """Return the factors on the size of the inputs in `test_cfg.scales`, of which a config may give one or several."""
    return tuple(scales) if isinstance(scales, Sequence) else (scales,)
