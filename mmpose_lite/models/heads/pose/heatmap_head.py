"""Deconvolutions from a coarse feature map to one heatmap per keypoint."""

# Letters: B batch, M instances of the batch (top-down: M = B), K keypoints, H x W heatmap cells.
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from mmpose_lite.errors import ConfigError
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.heads.pose.heatmap_layers import check_lengths, deconv_layers, heatmap_codec, init_normal
from mmpose_lite.models.keypoint_channels import keypoint_channels
from mmpose_lite.ops.heatmap_accuracy import heatmap_accuracy
from mmpose_lite.ops.heatmap_flip import flip_heatmaps
from mmpose_lite.ops.heatmap_resize import mean_of_scales
from mmpose_lite.registry import HEADS, LOSSES
from mmpose_lite.structures import KeypointMeta, SampleBatch

_FINAL_LAYER: Mapping[str, int] = MappingProxyType({'kernel_size': 1})


@HEADS.register_module()
class HeatmapHead(BaseModule):
    """Deconvolutions (each doubles the map), optional convolutions, and a last convolution to K channels.

    Source: Xiao et al., Simple Baselines for Human Pose Estimation and Tracking, ECCV 2018, Sec. 2, arXiv:1804.06208.

    Args:
        in_channels: C of the coarsest map of the backbone or neck.
        out_channels: K; None takes it from `meta`.
        meta: the keypoints: anything `KeypointMeta.load` understands. Needed when `out_channels` is None.
        deconv_out_channels: of each deconvolution; None or () for none.
        deconv_kernel_sizes: of each deconvolution: 2, 3 or 4.
        conv_out_channels: of each convolution after them; None or () for none.
        conv_kernel_sizes: of each of these, odd; the map keeps its size.
        final_layer: dict(kernel_size=..., padding=...) of the last convolution, 1 and 0 where not given; None for no such
            layer: the layers before it then end in K channels.
        loss: config of the loss, called as loss(pred, target, weight).
        codec: config of the codec that makes the targets and decodes; `forward` alone does without.

    Raises:
        ValueError: an argument is missing, out of range, or the lengths or counts do not fit together; or the codec makes labels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        *,
        meta: KeypointMeta | Mapping[str, Any] | str | None = None,
        deconv_out_channels: Sequence[int] | None = (256, 256, 256),
        deconv_kernel_sizes: Sequence[int] | None = (4, 4, 4),
        conv_out_channels: Sequence[int] | None = None,
        conv_kernel_sizes: Sequence[int] | None = None,
        final_layer: Mapping[str, int] | None = _FINAL_LAYER,
        loss: Mapping[str, Any] | None = None,
        codec: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = keypoint_channels('HeatmapHead', out_channels, meta)
        channels = in_channels
        self.deconv_layers, channels = deconv_layers(
            'HeatmapHead', channels, deconv_out_channels or (), deconv_kernel_sizes or ()
        )
        self.conv_layers, channels = _conv_layers(channels, conv_out_channels or (), conv_kernel_sizes or ())
        self.final_layer = _final_layer(channels, self.out_channels, final_layer)
        self.loss_module = LOSSES.build(loss or dict(type='KeypointMSELoss', use_target_weight=True))
        self.codec = heatmap_codec('HeatmapHead', codec)

    def init_weights(self) -> None:
        """Set normal initial values of standard deviation 0.001, as the paper does; biases 0, batch norm 1 and 0."""
        init_normal(self)

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Return heatmaps (B, K, H, W), any range, made of the last (coarsest) of the maps."""
        return self.final_layer(self.conv_layers(self.deconv_layers(feats[-1])))

    def loss(self, feats: Sequence[Tensor], data_samples: SampleBatch) -> dict[str, Tensor]:
        """Return `loss_kpt` and, without gradient, `acc_pose` in [0, 1] (see `heatmap_accuracy`).

        Args:
            feats: maps of the backbone or neck.
            data_samples: one instance per image, with `keypoints_input` (M, K, 2) in input px and `keypoints_visible` (M, K).

        Raises:
            ConfigError: the head has no codec, or the maps do not fit it.
        """
        pred = self.forward(feats).float()  # targets and their differences are small: not in bfloat16
        keypoints, visible = data_samples.keypoints_input, data_samples.keypoints_visible
        target, weight = self._codec().encode(keypoints[:, None], visible[:, None])
        if pred.shape != target.shape:
            raise ConfigError(
                f'HeatmapHead: the network gives maps of (B, K, H, W) = {tuple(pred.shape)}, the targets are '
                f'{tuple(target.shape)}; check `meta`, `out_channels`, the deconvolutions and `codec.heatmap_size` (w, h).'
            )
        return {'loss_kpt': self.loss_module(pred, target, weight), 'acc_pose': heatmap_accuracy(pred, target, weight)}

    def predict(self, feats: Sequence[Tensor], data_samples: SampleBatch | None = None) -> tuple[Tensor, Tensor]:
        """Return keypoints (M, K, 2) in input px and scores (M, K)."""
        return self.decode(self.forward(feats))

    def decode(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Return keypoints (M, K, 2) in input px and scores (M, K) of heatmaps (M, K, H, W), such as a mean over a flip test."""
        return self._codec().decode(heatmaps.float())

    def merge_flipped(self, heatmaps: Tensor, mirrored: Tensor, flip_indices: Sequence[int], *, shift: bool = False) -> Tensor:
        """Return the mean of heatmaps (B, K, H, W) and those of the mirrored images; see `flip_heatmaps`."""
        return (heatmaps + flip_heatmaps(mirrored, flip_indices, shift=shift)) / 2

    @property
    def input_frame(self) -> str:
        """How inputs of several scales lie on each other; see `resize_maps`."""
        return self._codec().input_frame

    def merge_scales(self, heatmaps: Sequence[Tensor]) -> Tensor:
        """Return the mean of heatmaps (B, K, H, W) of several scales of the input, at the size of the first."""
        return mean_of_scales(heatmaps, frame=self._codec().map_frame)

    def _codec(self) -> Any:
        if self.codec is None:
            raise ConfigError(
                'HeatmapHead: `codec` must be given for loss and predict, got None; for example '
                "codec=dict(type='HeatmapCodec', input_size=(192, 256), heatmap_size=(48, 64))."
            )
        return self.codec


def _conv_layers(channels: int, out_channels: Sequence[int], kernel_sizes: Sequence[int]) -> tuple[nn.Module, int]:
    """Return the convolutions and the C of their result."""
    check_lengths('HeatmapHead', 'conv', out_channels, kernel_sizes)
    layers: list[nn.Module] = []
    for c_out, kernel in zip(out_channels, kernel_sizes):
        if kernel % 2 == 0:
            raise ValueError(f'HeatmapHead: `conv_kernel_sizes` must be odd, got {kernel}.')
        layers += [nn.Conv2d(channels, c_out, kernel, padding=kernel // 2), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]
        channels = c_out
    return nn.Sequential(*layers), channels


def _final_layer(channels: int, num_keypoints: int, cfg: Mapping[str, int] | None) -> nn.Module:
    if cfg is None:
        if channels != num_keypoints:
            raise ValueError(
                f'HeatmapHead: without `final_layer` the last layer must have {num_keypoints} channels, one per keypoint, '
                f'got {channels}.'
            )
        return nn.Identity()
    unknown = [key for key in cfg if key not in ('kernel_size', 'padding')]
    if unknown:
        raise ValueError(f'HeatmapHead: `final_layer` takes kernel_size and padding, got {unknown}.')
    return nn.Conv2d(channels, num_keypoints, cfg.get('kernel_size', 1), padding=cfg.get('padding', 0))
