"""Convolutional pose machine, with OpenMMLab's state-dict keys."""

# Letters: B batch, C channels, K keypoints, H x W cells, S stages.
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.keypoint_channels import keypoint_channels
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.pretrained import check_init_cfg, load_pretrained
from mmpose_lite.registry import BACKBONES
from mmpose_lite.structures import KeypointMeta


class CPMStage(nn.Module):
    """Three 11x11 convolutions."""

    def __init__(self, in_channels: int, channels: int, *, norm_cfg: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.model = nn.Sequential(
            *(ConvModule(c, channels, kernel_size=11, norm_cfg=norm_cfg) for c in (in_channels, channels, channels))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


@BACKBONES.register_module()
class CPM(BaseModule):
    """Heatmaps from the image, then stages that read the previous heatmaps beside image features and correct them.

    Source: Wei et al., Convolutional Pose Machines, CVPR 2016, Fig. 2, arXiv:1602.00134.
    Differs: batch norm; K maps, without one for the background; each stage has its own last convolution of the image features.

    The returned maps are heatmaps already, one set of K per stage; a `CPMHead` without `final_layer` trains and decodes them.

    Args:
        out_channels: K; None takes it from `meta`.
        meta: the keypoints: anything `KeypointMeta.load` understands. Needed when `out_channels` is None.
        in_channels: of the image.
        stem_channels: C of the first convolutions; the following ones of stage 0 have a quarter and four times as many.
        feat_channels: C inside the later stages.
        middle_channels: C of the image features a later stage reads.
        num_stages: S, at least 1.
        norm_cfg: see `build_norm_layer`; None is batch norm.
        init_cfg: dict(type='Pretrained', checkpoint=...) or None, used by `init_weights`.

    Attributes:
        out_channels: K for each returned map.
        strides: of each returned map, in px of the image.

    Raises:
        ValueError: an argument is missing or out of range, or `out_channels` and `meta` differ.
    """

    def __init__(
        self,
        *,
        out_channels: int | None = None,
        meta: KeypointMeta | Mapping[str, Any] | str | None = None,
        in_channels: int = 3,
        stem_channels: int = 128,
        feat_channels: int = 128,
        middle_channels: int = 32,
        num_stages: int = 6,
        norm_cfg: Mapping[str, Any] | None = None,
        init_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        K = keypoint_channels('CPM', out_channels, meta)
        if num_stages < 1:
            raise ValueError(f'CPM: `num_stages` must be 1 or more, got {num_stages}.')
        check_init_cfg('CPM', init_cfg)
        self.init_cfg = init_cfg
        narrow, wide = max(stem_channels // 4, 1), 4 * stem_channels
        self.stem = nn.Sequential(
            *_image_layers(in_channels, stem_channels, norm_cfg),
            ConvModule(stem_channels, narrow, kernel_size=5, norm_cfg=norm_cfg),
            ConvModule(narrow, wide, kernel_size=9, norm_cfg=norm_cfg),
            ConvModule(wide, wide, norm_cfg=norm_cfg),
            ConvModule(wide, K, with_norm=False, act=None),
        )
        self.middle = nn.Sequential(*_image_layers(in_channels, stem_channels, norm_cfg))
        later = range(num_stages - 1)
        self.cpm_stages = nn.ModuleList(CPMStage(middle_channels + K, feat_channels, norm_cfg=norm_cfg) for _ in later)
        self.middle_conv = nn.ModuleList(
            nn.Sequential(ConvModule(stem_channels, middle_channels, kernel_size=5, norm_cfg=norm_cfg)) for _ in later
        )
        self.out_convs = nn.ModuleList(
            nn.Sequential(
                ConvModule(feat_channels, feat_channels, norm_cfg=norm_cfg),
                ConvModule(feat_channels, K, with_norm=False, act=None),
            )
            for _ in later
        )
        if num_stages == 1:
            self.middle.requires_grad_(False)  # the keys are the published ones, no stage reads it
        self.out_channels = (K,) * num_stages
        self.strides = (8,) * num_stages

    def init_weights(self) -> None:
        """Set normal initial values of standard deviation 0.001, biases 0; then load the weights that `init_cfg` names."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.001)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.init_cfg is not None:
            load_pretrained(self, self.init_cfg)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return S sets of heatmaps (B, K, H / 8, W / 8), rounded up, the last stage's last."""
        outs = [self.stem(x)]
        if self.cpm_stages:
            image = self.middle(x)
        for stage, middle_conv, out_conv in zip(self.cpm_stages, self.middle_conv, self.out_convs):
            outs.append(out_conv(stage(torch.cat((outs[-1], middle_conv(image)), dim=1))))
        return tuple(outs)


def _image_layers(in_channels: int, channels: int, norm_cfg: Mapping[str, Any] | None) -> list[nn.Module]:
    """Return three 9x9 convolutions, each with a pool to half the size."""
    layers: list[nn.Module] = []
    for c_in in (in_channels, channels, channels):
        layers.append(ConvModule(c_in, channels, kernel_size=9, norm_cfg=norm_cfg))
        layers.append(nn.MaxPool2d(kernel_size=3, stride=2, padding=1))
    return layers
