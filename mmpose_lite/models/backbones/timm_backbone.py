"""Any network of timm as a backbone; timm is an optional dependency."""

from collections.abc import Sequence

from torch import Tensor

from mmpose_lite.models.base import BaseModule
from mmpose_lite.registry import BACKBONES


@BACKBONES.register_module()
class TimmBackbone(BaseModule):
    """Feature maps of a timm network, whose keys stand under `timm_model.`.

    Args:
        model_name: as `timm.list_models()` says it, such as 'convnext_tiny'.
        in_channels: of the image.
        out_indices: maps that are returned, counted from 0 as timm counts them for that network (in a ResNet 0 is the stem,
            in a ConvNeXt the first stage).
        pretrained: let `init_weights` download and load timm's weights.

    Attributes:
        out_channels: C of each returned map.
        strides: of each returned map, in px of the image.

    Raises:
        ImportError: timm is not installed.
    """

    def __init__(
        self, model_name: str, *, in_channels: int = 3, out_indices: Sequence[int] = (3,), pretrained: bool = False
    ) -> None:
        super().__init__()
        try:
            import timm
        except ImportError as error:
            raise ImportError('TimmBackbone needs timm, which is not installed: pip install timm') from error
        self.pretrained = pretrained
        self._args = dict(model_name=model_name, in_chans=in_channels, features_only=True, out_indices=tuple(sorted(out_indices)))
        self.timm_model = timm.create_model(pretrained=False, **self._args)
        self.out_channels = tuple(self.timm_model.feature_info.channels())
        self.strides = tuple(self.timm_model.feature_info.reduction())

    def init_weights(self) -> None:
        """Load timm's weights with `pretrained`; otherwise the initial values are those that timm gave."""
        if self.pretrained:
            import timm

            self.timm_model.load_state_dict(timm.create_model(pretrained=True, **self._args).state_dict())

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of `out_indices`, finest first: (B, out_channels[i], H / strides[i], W / strides[i])."""
        return tuple(self.timm_model(x))
