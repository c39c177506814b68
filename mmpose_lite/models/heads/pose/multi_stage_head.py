"""What heads with several sets of heatmaps share: supervision of each, prediction from the last."""

# Letters: B batch, M instances of the batch (top-down: M = B), K keypoints, H x W heatmap cells, S sets of heatmaps, L levels.
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mmpose_lite.errors import ConfigError
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.heads.pose.heatmap_layers import heatmap_codec
from mmpose_lite.models.keypoint_channels import keypoint_channels
from mmpose_lite.ops.heatmap_accuracy import heatmap_accuracy
from mmpose_lite.ops.heatmap_flip import flip_heatmaps
from mmpose_lite.ops.heatmap_resize import mean_of_scales
from mmpose_lite.registry import LOSSES
from mmpose_lite.structures import KeypointMeta, SampleBatch


class MultiStageHead(BaseModule):
    """S sets of heatmaps; a subclass makes the layers and writes `forward`.

    Source: Wei et al., Convolutional Pose Machines, CVPR 2016, Sec. 3.3 (intermediate supervision), arXiv:1602.00134.

    Args:
        num_outputs: S.
        out_channels: K; None takes it from `meta`.
        meta: the keypoints: anything `KeypointMeta.load` understands. Needed when `out_channels` is None.
        loss: config of the loss, called as loss(pred, target, weight), or one config per set.
        stage_weights: factor of each set's loss; None is 1 for all.
        level_indices: for a codec with L levels of targets, the level that each set learns; None for a codec with one level.
        codec: config of the codec that makes the targets and decodes; `forward` alone does without.

    Raises:
        ValueError: an argument is missing, the lengths do not fit together, or the codec makes labels.
    """

    def __init__(
        self,
        num_outputs: int,
        *,
        out_channels: int | None = None,
        meta: KeypointMeta | Mapping[str, Any] | str | None = None,
        loss: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        stage_weights: Sequence[float] | None = None,
        level_indices: Sequence[int] | None = None,
        codec: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.out_channels = keypoint_channels(name, out_channels, meta)
        loss = loss or dict(type='KeypointMSELoss', use_target_weight=True)
        losses = [loss] * num_outputs if isinstance(loss, Mapping) else list(loss)
        stage_weights = (1.0,) * num_outputs if stage_weights is None else tuple(stage_weights)
        for argument, entries in (('loss', losses), ('stage_weights', stage_weights), ('level_indices', level_indices)):
            if entries is not None and len(entries) != num_outputs:
                raise ValueError(f'{name}: `{argument}` needs one entry per set of heatmaps ({num_outputs}), got {len(entries)}.')
        self.stage_weights = stage_weights
        self.level_indices = None if level_indices is None else tuple(level_indices)
        self.loss_module = nn.ModuleList(LOSSES.build(cfg) for cfg in losses)
        self.codec = heatmap_codec(name, codec)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return S sets of heatmaps (B, K, H, W), any range; the last one is decoded."""
        raise NotImplementedError

    def loss(self, feats: Sequence[Tensor], data_samples: SampleBatch) -> dict[str, Tensor]:
        """Return `loss_kpt`, the weighted sum over the sets, and, without gradient, `acc_pose` of the last set in [0, 1].

        Args:
            feats: maps of the backbone or neck.
            data_samples: one instance per image, with `keypoints_input` (M, K, 2) in input px and `keypoints_visible` (M, K).

        Raises:
            ConfigError: the head has no codec, or the maps do not fit it.
        """
        preds = [pred.float() for pred in self.forward(feats)]  # targets and differences are small: not in bfloat16
        keypoints, visible = data_samples.keypoints_input, data_samples.keypoints_visible
        heatmaps, weight = self._codec().encode(keypoints[:, None], visible[:, None])
        targets = self._targets(heatmaps, len(preds))
        total = preds[0].new_zeros(())
        for pred, target, factor, loss_module in zip(preds, targets, self.stage_weights, self.loss_module):
            if pred.shape != target.shape:
                raise ConfigError(
                    f'{type(self).__name__}: the network gives maps of (B, K, H, W) = {tuple(pred.shape)}, the targets are '
                    f'{tuple(target.shape)}; check `meta`, `out_channels` and `codec.heatmap_size` (w, h).'
                )
            total = total + factor * loss_module(pred, target, weight)
        return {'loss_kpt': total, 'acc_pose': heatmap_accuracy(preds[-1], targets[-1], weight)}

    def _targets(self, heatmaps: Tensor, num_outputs: int) -> list[Tensor]:
        """Return the target of each set, from (B, K, H, W) heatmaps or (B, L, K, H, W) with `level_indices`."""
        if heatmaps.ndim == 4 and self.level_indices is None:
            return [heatmaps] * num_outputs
        if heatmaps.ndim == 5 and self.level_indices is not None and max(self.level_indices) < heatmaps.shape[1]:
            return [heatmaps[:, level] for level in self.level_indices]
        levels = 'one level' if heatmaps.ndim == 4 else f'{heatmaps.shape[1]} levels'
        raise ConfigError(
            f'{type(self).__name__}: `level_indices` must name the level of `codec` that each of the {num_outputs} sets of '
            f'heatmaps learns, or be None for a codec with one level; the codec has {levels}, got {self.level_indices}.'
        )

    def predict(self, feats: Sequence[Tensor], data_samples: SampleBatch | None = None) -> tuple[Tensor, Tensor]:
        """Return keypoints (M, K, 2) in input px and scores (M, K)."""
        return self.decode(self.forward(feats))

    def decode(self, heatmaps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return keypoints (M, K, 2) in input px and scores (M, K) of the last set of heatmaps (M, K, H, W)."""
        return self._codec().decode(heatmaps[-1].float())

    def merge_flipped(
        self, heatmaps: Sequence[Tensor], mirrored: Sequence[Tensor], flip_indices: Sequence[int], *, shift: bool = False
    ) -> tuple[Tensor]:
        """Return the mean of the last set and that of the mirrored images, as the one set to decode; see `flip_heatmaps`."""
        return ((heatmaps[-1] + flip_heatmaps(mirrored[-1], flip_indices, shift=shift)) / 2,)

    @property
    def input_frame(self) -> str:
        """How inputs of several scales lie on each other; see `resize_maps`."""
        return self._codec().input_frame

    def merge_scales(self, passes: Sequence[Sequence[Tensor]]) -> tuple[Tensor]:
        """Return the mean of the last sets of several scales of the input, at the size of the first, as the one set to decode."""
        return (mean_of_scales([heatmaps[-1] for heatmaps in passes], frame=self._codec().map_frame),)

    def _codec(self) -> Any:
        if self.codec is None:
            raise ConfigError(f'{type(self).__name__}: `codec` must be given for loss and predict, got None.')
        return self.codec

    def _check_feats(self, feats: Sequence[Tensor], expected: int) -> None:
        if len(feats) != expected:
            raise ConfigError(
                f'{type(self).__name__}: needs {expected} maps of the backbone or neck, got {len(feats)}; '
                'check that both have the same number of stages.'
            )
