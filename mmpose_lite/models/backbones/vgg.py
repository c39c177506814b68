"""VGG of depth 11 to 19, with or without batch norm, in OpenMMLab's state-dict keys."""

# Letters: B batch, C channels, H x W pixels or cells.
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from mmpose_lite.models.backbones.training import checked_indices, freeze, hold_eval, init_he
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.pretrained import check_init_cfg, load_pretrained
from mmpose_lite.registry import BACKBONES

STAGE_CHANNELS = (64, 128, 256, 512, 512)


@BACKBONES.register_module()
class VGG(BaseModule):
    """VGG without its classifier: five stages of 3x3 convolutions, each with a 2x2 maximum at its end.

    Source: Simonyan and Zisserman, Very Deep Convolutional Networks, ICLR 2015, Table 1, arXiv:1409.1556.

    Args:
        depth: 11, 13, 16 or 19.
        in_channels: of the image.
        base_channels: C of stage 0; the others have 2, 4, 8 and 8 times as many.
        out_indices: stages whose maps are returned, counted from 0, after their maximum; those behind the last are neither
            run nor trained.
        frozen_stages: n freezes the first n stages: no gradient, and eval mode even after `.train()`. -1 and 0 train everything.
        with_norm: batch norm after each convolution, as in torchvision's `vgg16_bn`.
        norm_cfg: see `build_norm_layer`; None is batch norm.
        norm_eval: keep every batch norm in eval mode while training.
        init_cfg: dict(type='Pretrained', checkpoint='torchvision://vgg16_bn') or None, used by `init_weights`.

    Attributes:
        out_channels: C of each returned map.
        strides: of each returned map, in px of the image: 2 after stage 0, up to 32.

    Raises:
        ValueError: an argument is out of range.
    """

    convs_per_stage: ClassVar[dict[int, tuple[int, ...]]] = {
        11: (1, 1, 2, 2, 2),
        13: (2, 2, 2, 2, 2),
        16: (2, 2, 3, 3, 3),
        19: (2, 2, 4, 4, 4),
    }

    def __init__(
        self,
        depth: int,
        *,
        in_channels: int = 3,
        base_channels: int = 64,
        out_indices: Sequence[int] = (4,),
        frozen_stages: int = -1,
        with_norm: bool = True,
        norm_cfg: Mapping[str, Any] | None = None,
        norm_eval: bool = False,
        init_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if depth not in self.convs_per_stage:
            raise ValueError(f'VGG: `depth` must be one of {list(self.convs_per_stage)}, got {depth}.')
        if not -1 <= frozen_stages <= 5:
            raise ValueError(f'VGG: `frozen_stages` must be -1 to 5, got {frozen_stages}.')
        check_init_cfg('VGG', init_cfg)
        self.init_cfg = init_cfg
        self.out_indices = checked_indices('VGG', out_indices, 5)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        layers: list[nn.Module] = []
        self.stage_ends: list[int] = []
        channels, all_channels = in_channels, []
        for num_convs, full_channels in zip(self.convs_per_stage[depth], STAGE_CHANNELS):
            c_out = full_channels * base_channels // STAGE_CHANNELS[0]
            for _ in range(num_convs):
                layers.append(ConvModule(channels, c_out, kernel_size=3, with_norm=with_norm, bias=True, norm_cfg=norm_cfg))
                channels = c_out
            layers.append(nn.MaxPool2d(2))
            self.stage_ends.append(len(layers))
            all_channels.append(channels)
        self.features = nn.Sequential(*layers)
        self.num_read = self.stage_ends[self.out_indices[-1]]
        self.out_channels = tuple(all_channels[i] for i in self.out_indices)
        self.strides = tuple(2 ** (i + 1) for i in self.out_indices)
        freeze([*self._frozen(), self.features[self.num_read :]])  # nothing reads the last ones

    def _frozen(self) -> list[nn.Module]:
        return [self.features[: self.stage_ends[self.frozen_stages - 1]]] if self.frozen_stages > 0 else []

    def train(self, mode: bool = True) -> 'VGG':
        """Set the mode; frozen stages, and with `norm_eval` every batch norm, stay in eval mode."""
        super().train(mode)
        hold_eval(self, self._frozen(), norm_eval=self.norm_eval)
        return self

    def init_weights(self) -> None:
        """Set He's normal initial values (fan out), then load the pretrained weights if `init_cfg` names any."""
        init_he(self)
        if self.init_cfg is not None:
            load_pretrained(self, self.init_cfg)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of `out_indices`, finest first: (B, out_channels[i], H / strides[i], W / strides[i]), rounded down."""
        maps = []
        for number, layer in enumerate(self.features[: self.num_read], start=1):
            x = layer(x)
            if number in self.stage_ends:
                maps.append(x)
        return tuple(maps[i] for i in self.out_indices)
