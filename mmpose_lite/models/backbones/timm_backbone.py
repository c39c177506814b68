"""Any network of timm as a backbone; timm is an optional dependency."""

from collections.abc import Mapping, Sequence
from typing import Any

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
        model_args: further arguments of the network, such as dict(img_size=(256, 192)), (h, w), which a ViT or a Swin needs for
            images that are not those it was made for.

    Attributes:
        out_channels: C of each returned map.
        strides: of each returned map, in px of the image.

    Raises:
        ImportError: timm is not installed.
        ValueError: `model_args` has what is an argument here.
    """

    def __init__(
        self,
        model_name: str,
        *,
        in_channels: int = 3,
        out_indices: Sequence[int] = (3,),
        pretrained: bool = False,
        model_args: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        try:
            import timm
        except ImportError as error:
            raise ImportError('TimmBackbone needs timm, which is not installed: pip install timm') from error
        self.pretrained = pretrained
        args = dict(model_name=model_name, in_chans=in_channels, features_only=True, out_indices=tuple(sorted(out_indices)))
        double = sorted({*args, 'pretrained'} & {*(model_args or ())})
        if double:
            raise ValueError(f'TimmBackbone: `model_args` must not have {double}; use the arguments of TimmBackbone.')
        self._args = args | dict(model_args or {})
        self.timm_model = timm.create_model(pretrained=False, **self._args)
        self.channels_come_last = getattr(self.timm_model, 'output_fmt', 'NCHW') == 'NHWC'  # of a Swin, among others
        self.out_channels = tuple(self.timm_model.feature_info.channels())
        self.strides = tuple(self.timm_model.feature_info.reduction())

    def init_weights(self) -> None:
        """Load timm's weights with `pretrained`; otherwise the initial values are those that timm gave."""
        if self.pretrained:
            import timm

            self.timm_model.load_state_dict(timm.create_model(pretrained=True, **self._args).state_dict())

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of `out_indices`, finest first: (B, out_channels[i], H / strides[i], W / strides[i])."""
        maps = self.timm_model(x)
        return tuple(m.permute(0, 3, 1, 2) if self.channels_come_last else m for m in maps)
