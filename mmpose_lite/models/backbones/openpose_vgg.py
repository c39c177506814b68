"""The beginning of a VGG as OpenPose uses it."""

# Letters: B batch, C channels, H x W pixels or cells.
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mmpose_lite.models.backbones.training import init_he
from mmpose_lite.models.backbones.vgg import VGG
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.pretrained import load_pretrained
from mmpose_lite.registry import BACKBONES


@BACKBONES.register_module()
class OpenPoseVGG(VGG):
    """VGG up to conv4_2 (of VGG-19 the first ten convolutions), then 3x3 convolutions to fewer channels; stride 8.

    Source: Cao et al., Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields, CVPR 2017, Sec. 2.1, arXiv:1611.08050
    (conv4_3_CPM and conv4_4_CPM in the authors' files). With `act='prelu'`: Cao et al., OpenPose, TPAMI 2019, arXiv:1812.08008,
    where it stands behind conv4_2 as well.

    The keys of `features` are those of `VGG`, so ImageNet weights load: init_cfg=dict(type='Pretrained',
    checkpoint='torchvision://vgg19').

    Args:
        depth: 11, 13, 16 or 19.
        in_channels: of the image.
        base_channels: C of the first stage; the others have 2, 4 and 8 times as many.
        cpm_channels: C of the convolutions behind conv4_2.
        act: activation behind conv4_2 and these convolutions: 'relu' or 'prelu'.
        frozen_stages: n freezes the first n of the three whole stages; -1 and 0 train everything.
        init_cfg: dict(type='Pretrained', checkpoint='torchvision://vgg19') or None, used by `init_weights`.

    Attributes:
        out_channels: C of the one returned map.
        strides: of it, in px of the image.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        depth: int = 19,
        *,
        in_channels: int = 3,
        base_channels: int = 64,
        cpm_channels: Sequence[int] = (256, 128),
        act: str = 'relu',
        frozen_stages: int = -1,
        init_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        if not cpm_channels:
            raise ValueError(f'OpenPoseVGG: `cpm_channels` needs one or more entries, got {tuple(cpm_channels)}.')
        if not -1 <= frozen_stages <= 3:
            raise ValueError(f'OpenPoseVGG: `frozen_stages` must be -1 to 3, got {frozen_stages}.')
        super().__init__(
            depth,
            in_channels=in_channels,
            base_channels=base_channels,
            out_indices=(3,),  # of which only conv4_2 and what is before it is kept
            frozen_stages=frozen_stages,
            with_norm=False,
            init_cfg=init_cfg,
        )
        channels = 8 * base_channels
        conv4_2 = ConvModule(channels, channels, kernel_size=3, with_norm=False, act=act)
        self.features = nn.Sequential(*self.features[: self.stage_ends[2] + 1], conv4_2)
        convs = zip((channels, *cpm_channels), cpm_channels)
        self.cpm = nn.Sequential(*(ConvModule(c_in, c_out, kernel_size=3, with_norm=False, act=act) for c_in, c_out in convs))
        self.out_channels = (cpm_channels[-1],)
        self.strides = (8,)

    def init_weights(self) -> None:
        """Set He's normal initial values (fan out), then load the pretrained weights if `init_cfg` names any.

        The convolutions behind conv4_2 get uniform values of variance 1 / fan in, as the authors' of 2019 do.
        """
        init_he(self.features)
        for layer in self.cpm:
            nn.init.kaiming_uniform_(layer.conv.weight, nonlinearity='linear')
            nn.init.zeros_(layer.conv.bias)
        if self.init_cfg is not None:
            load_pretrained(self, self.init_cfg)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return one map (B, C, H / 8, W / 8), rounded down, of images (B, 3, H, W)."""
        return (self.cpm(self.features(x)),)
