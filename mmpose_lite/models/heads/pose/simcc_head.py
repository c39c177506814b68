"""Each coordinate of a keypoint as a classification over bins (SimCC)."""

# Letters: B batch, M instances of the batch (top-down: M = B), K keypoints, H x W cells, Wx and Wy bins.
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmpose_lite.errors import ConfigError
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.heads.pose.heatmap_head import HeatmapHead
from mmpose_lite.models.keypoint_channels import keypoint_channels
from mmpose_lite.ops.simcc import Labels, flip_simcc, marginal_weights, simcc_accuracy
from mmpose_lite.registry import CODECS, HEADS, LOSSES
from mmpose_lite.structures import KeypointMeta, SampleBatch

LINEAR_INITS = ('normal', 'marginal')


class CoordinateClassificationHead(BaseModule):
    """What heads with 1-D labels share: loss, decoding and the flip test; a subclass writes `forward`.

    Args:
        out_channels: K; None takes it from `meta`.
        meta: the keypoints: anything `KeypointMeta.load` understands. Needed when `out_channels` is None.
        codec: config of the codec that makes the targets and decodes; its `num_bins` are the lengths of the labels.
        loss: config of the loss, called as loss(pred, target, weight).

    Raises:
        ValueError: neither `out_channels` nor `meta` is given, they do not fit together, or the codec makes no labels.
    """

    def __init__(
        self,
        out_channels: int | None,
        *,
        meta: KeypointMeta | Mapping[str, Any] | str | None,
        codec: Mapping[str, Any],
        loss: Mapping[str, Any] | None,
    ) -> None:
        super().__init__()
        self.out_channels = keypoint_channels(type(self).__name__, out_channels, meta)
        self.codec = CODECS.build(codec)
        if not hasattr(self.codec, 'num_bins'):
            raise ValueError(f'{type(self).__name__}: `codec` must make labels, as SimCCCodec does, got {self.codec!r}.')
        self.loss_module = LOSSES.build(loss or dict(type='KLDiscretLoss', use_target_weight=True))

    def init_weights(self) -> None:
        """Set normal initial values: standard deviation 0.001 of convolutions, 0.01 of linear layers; biases 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                nn.init.normal_(module.weight, std=0.01 if isinstance(module, nn.Linear) else 0.001)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, feats: Sequence[Tensor]) -> Labels:
        """Return logits (B, K, Wx) and (B, K, Wy), made of the last (coarsest) of the maps."""
        raise NotImplementedError

    def loss(self, feats: Sequence[Tensor], data_samples: SampleBatch) -> dict[str, Tensor]:
        """Return `loss_kpt` and, without gradient, `acc_pose` in [0, 1] (see `simcc_accuracy`).

        Args:
            feats: maps of the backbone or neck.
            data_samples: one instance per image, with `keypoints_input` (M, K, 2) in input px and `keypoints_visible` (M, K).

        Raises:
            ConfigError: the data have another number of keypoints.
        """
        x, y = self.forward(feats)
        pred = (x.float(), y.float())  # small differences of logarithms: not in bfloat16
        keypoints, visible = data_samples.keypoints_input, data_samples.keypoints_visible
        target, weight = self.codec.encode(keypoints[:, None], visible[:, None])
        if x.shape[:2] != weight.shape:
            raise ConfigError(
                f'{type(self).__name__}: the network gives labels of (B, K) = {tuple(x.shape[:2])} keypoints, the targets are of '
                f'{tuple(weight.shape)}; check `meta` and `out_channels`.'
            )
        return {'loss_kpt': self.loss_module(pred, target, weight), 'acc_pose': simcc_accuracy(pred, target, weight)}

    def predict(self, feats: Sequence[Tensor], data_samples: SampleBatch | None = None) -> tuple[Tensor, Tensor]:
        """Return keypoints (M, K, 2) in input px and scores (M, K)."""
        return self.decode(self.forward(feats))

    def decode(self, labels: Labels) -> tuple[Tensor, Tensor]:
        """Return keypoints (M, K, 2) in input px and scores (M, K) of labels (M, K, Wx) and (M, K, Wy)."""
        return self.codec.decode(labels)

    def merge_flipped(self, labels: Labels, mirrored: Labels, flip_indices: Sequence[int], *, shift: bool = False) -> Labels:
        """Return the mean of the labels and those of the mirrored images; see `flip_simcc`.

        Args:
            labels: (B, K, Wx) and (B, K, Wy).
            mirrored: the same, of the mirrored images.
            flip_indices: `KeypointMeta.flip_indices`.
            shift: correct that a mirrored label comes back split_ratio - 1 bins too far right. mmpose never does.
        """
        bins = round(self.codec.simcc_split_ratio) - 1 if shift else 0
        flipped = flip_simcc(mirrored, flip_indices, shift=max(bins, 0))
        return (labels[0] + flipped[0]) / 2, (labels[1] + flipped[1]) / 2


@HEADS.register_module()
class SimCCHead(CoordinateClassificationHead):
    """Deconvolutions to one map per keypoint, then one linear layer from the flattened map to the bins of x, one to those of y.

    Source: Li et al., SimCC, ECCV 2022, Sec. 3 and Fig. 2, arXiv:2107.03332.

    Args:
        in_channels: C of the coarsest map of the backbone or neck.
        out_channels: K; None takes it from `meta`.
        in_featuremap_size: (w, h) of that map in cells.
        codec: config of the codec, whose bins are those of the labels.
        meta: the keypoints: anything `KeypointMeta.load` understands. Needed when `out_channels` is None.
        deconv_out_channels: of each deconvolution, which doubles the map; None or () for none.
        deconv_kernel_sizes: of each deconvolution: 2, 3 or 4.
        linear_init: initial values of the two linear layers: 'normal', as published, or 'marginal': each logit begins as the
            sum of the map's column (row) at its place, see `marginal_weights`. What a place on the map means for the bins then
            need not be learnt, which takes most of a short training from scratch.
        loss: config of the loss, called as loss(pred, target, weight).

    Raises:
        ValueError: an argument is missing, out of range, or the lengths or counts do not fit together.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        *,
        in_featuremap_size: tuple[int, int],
        codec: Mapping[str, Any],
        meta: KeypointMeta | Mapping[str, Any] | str | None = None,
        deconv_out_channels: Sequence[int] | None = (256, 256, 256),
        deconv_kernel_sizes: Sequence[int] | None = (4, 4, 4),
        linear_init: str = 'normal',
        loss: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(out_channels, meta=meta, codec=codec, loss=loss)
        if linear_init not in LINEAR_INITS:
            raise ValueError(f'SimCCHead: `linear_init` must be one of {LINEAR_INITS}, got {linear_init!r}.')
        self.in_channels = in_channels
        self.linear_init = linear_init
        self.deconv_head: HeatmapHead | None = None
        if deconv_out_channels:
            self.deconv_head = HeatmapHead(
                in_channels,
                self.out_channels,
                deconv_out_channels=deconv_out_channels,
                deconv_kernel_sizes=deconv_kernel_sizes,
            )
        else:
            self.final_layer = nn.Conv2d(in_channels, self.out_channels, 1)
        growth = 2 ** len(deconv_out_channels or ())
        self.heatmap_size = (in_featuremap_size[0] * growth, in_featuremap_size[1] * growth)
        cells = self.heatmap_size[0] * self.heatmap_size[1]
        self.mlp_head_x = nn.Linear(cells, self.codec.num_bins[0])
        self.mlp_head_y = nn.Linear(cells, self.codec.num_bins[1])

    @torch.no_grad()
    def init_weights(self) -> None:
        """Set the initial values of every head with labels; then those of the linear layers, if they are to be marginals."""
        super().init_weights()
        if self.linear_init == 'marginal':
            x, y = marginal_weights(self.heatmap_size, self.codec.num_bins)
            self.mlp_head_x.weight.copy_(x)
            self.mlp_head_y.weight.copy_(y)

    def forward(self, feats: Sequence[Tensor]) -> Labels:
        """Return logits (B, K, Wx) and (B, K, Wy), made of the last (coarsest) of the maps."""
        maps = self.final_layer(feats[-1]) if self.deconv_head is None else self.deconv_head(feats)
        check_map_size('SimCCHead', maps, self.heatmap_size)
        flat = maps.flatten(2)
        return self.mlp_head_x(flat), self.mlp_head_y(flat)


def check_map_size(owner: str, maps: Tensor, size: tuple[int, int]) -> None:
    """Raise ConfigError unless maps (B, C, H, W) have the size (w, h)."""
    if (maps.shape[3], maps.shape[2]) != tuple(size):
        raise ConfigError(
            f'{owner}: its linear layers read maps of (w, h) = {tuple(size)} cells, got {(maps.shape[3], maps.shape[2])}. '
            "Set `in_featuremap_size` to the codec's input_size divided by the stride of the backbone."
        )
