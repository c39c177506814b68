"""Heads with heatmaps and part affinity fields: what they share, and the plain one."""

# Letters: B batch, N instances of one image, K keypoints, L limbs, H x W cells, S stages.
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from mmpose_lite.codecs.pose_groups import PoseGroups
from mmpose_lite.errors import ConfigError
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.heads.pose.heatmap_layers import deconv_layers, init_normal
from mmpose_lite.models.heads.pose.whole_images import loss_mask_of
from mmpose_lite.ops.heatmap_flip import flip_heatmaps
from mmpose_lite.ops.heatmap_resize import mean_of_scales
from mmpose_lite.ops.paf import flip_fields, mirrored_limbs
from mmpose_lite.registry import CODECS, HEADS, LOSSES
from mmpose_lite.structures import KeypointConverter, KeypointMeta, SampleBatch

MAPS = ('fields', 'heatmaps')


class PAFMaps(NamedTuple):
    """What a head with part affinity fields gives; the last entries are decoded.

    Attributes:
        heatmaps: (B, K, H, W), or (B, K + 1, H, W) with background, of each stage that makes them.
        fields: (B, 2L, H, W) of each stage that makes them.
    """

    heatmaps: tuple[Tensor, ...]
    fields: tuple[Tensor, ...]


class FieldHead(BaseModule):
    """Supervision of every stage, prediction from the last; a subclass makes the layers and writes `forward`.

    Source: Cao et al., Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields, CVPR 2017, Sec. 2, arXiv:1611.08050.

    Args:
        stages: what each stage makes: 'fields', 'heatmaps' or both.
        meta: the keypoints of the data set: anything `KeypointMeta.load` understands. Where the codec has keypoints of its own,
            labels are converted to these and predictions back.
        codec: config of the codec; it is given `meta` unless it names its own.
        loss_heatmap: config of the loss of the heatmaps, called as loss(pred, target, mask); None for MaskedMSELoss.
        loss_field: config of the loss of the fields, likewise.
        stage_weights: factor of each stage's losses; None is 1 for all.

    Raises:
        ValueError: the lengths do not fit together, no stage makes heatmaps or fields, the codec makes no fields, or the
            keypoints of codec and data set cannot be made of one another.
    """

    def __init__(
        self,
        stages: Sequence[Sequence[str]],
        *,
        meta: KeypointMeta | Mapping[str, Any] | str,
        codec: Mapping[str, Any],
        loss_heatmap: Mapping[str, Any] | None = None,
        loss_field: Mapping[str, Any] | None = None,
        stage_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        weights = (1.0,) * len(stages) if stage_weights is None else tuple(stage_weights)
        if len(weights) != len(stages):
            raise ValueError(f'{name}: `stage_weights` needs one entry per stage ({len(stages)}), got {weights}.')
        if any(not any(maps in stage for stage in stages) for maps in MAPS):
            raise ValueError(f'{name}: `stages` must make fields and heatmaps, got {[tuple(stage) for stage in stages]}.')
        self.heatmap_weights = tuple(w for w, stage in zip(weights, stages) if 'heatmaps' in stage)
        self.field_weights = tuple(w for w, stage in zip(weights, stages) if 'fields' in stage)
        self.meta = KeypointMeta.load(meta)
        self.codec = CODECS.build(codec, meta=self.meta)
        if not hasattr(self.codec, 'num_fields'):
            raise ValueError(f'{name}: `codec` must make fields, as PAFCodec does, got {self.codec!r}.')
        self.num_channels = {'fields': self.codec.num_fields, 'heatmaps': self.codec.num_heatmaps}
        self.to_codec = self.from_codec = None
        if self.codec.meta.keypoints != self.meta.keypoints:
            self.to_codec = KeypointConverter(self.meta, self.codec.meta)
            self.from_codec = KeypointConverter(self.codec.meta, self.meta)
        self.loss_heatmap = LOSSES.build(loss_heatmap or dict(type='MaskedMSELoss'))
        self.loss_field = LOSSES.build(loss_field or dict(type='MaskedMSELoss'))

    def forward(self, feats: Sequence[Tensor]) -> PAFMaps:
        """Return the maps of all stages."""
        raise NotImplementedError

    def loss(self, feats: Sequence[Tensor], data_samples: SampleBatch) -> dict[str, Tensor]:
        """Return `loss_heatmap` and `loss_field`, each the weighted sum over the stages.

        Args:
            feats: maps of the backbone or neck.
            data_samples: with `keypoints_input` (N, K, 2) in input px and `keypoints_visible` (N, K) of each image, and the map
                `loss_mask` (B, H, W), 0 in the cells that are left out of every loss.

        Raises:
            ConfigError: there is no mask, or the maps do not fit the codec's or the mask.
        """
        mask = loss_mask_of(type(self).__name__, data_samples)
        maps = self.forward(feats)
        keypoints, visible = data_samples.padded('keypoints_input'), data_samples.padded('keypoints_visible')
        if self.to_codec is not None:
            keypoints, visible = self.to_codec(keypoints, visible)
        targets = self.codec.encode(keypoints, visible)
        mask = mask.to(targets.heatmaps.dtype)
        return {
            'loss_heatmap': self._over_stages(self.loss_heatmap, maps.heatmaps, targets.heatmaps, mask, self.heatmap_weights),
            'loss_field': self._over_stages(self.loss_field, maps.fields, targets.fields, mask, self.field_weights),
        }

    def _over_stages(
        self, loss: nn.Module, preds: Sequence[Tensor], target: Tensor, mask: Tensor, weights: Sequence[float]
    ) -> Tensor:
        expected = (*target.shape[:1], *target.shape[2:])
        if preds[0].shape != target.shape or tuple(mask.shape) != expected:
            raise ConfigError(
                f'{type(self).__name__}: maps, targets and mask must have one size, got maps {tuple(preds[0].shape)}, targets '
                f'{tuple(target.shape)} and mask {tuple(mask.shape)}; check `codec.heatmap_size` (w, h), the stride of the '
                'network and `mask_size` of GenerateLossMask.'
            )
        # Targets and differences are small: not in bfloat16.
        return sum(weight * loss(pred.float(), target, mask) for weight, pred in zip(weights, preds))

    def predict(self, feats: Sequence[Tensor], data_samples: SampleBatch | None = None) -> list[PoseGroups]:
        """Return the people in each image."""
        return self.decode(self.forward(feats))

    def decode(self, maps: PAFMaps) -> list[PoseGroups]:
        """Return the people in each image, with the keypoints of the data set, in input px; from the maps of the last stage."""
        groups = self.codec.decode(maps.heatmaps[-1].float(), maps.fields[-1].float())
        return groups if self.from_codec is None else [self._converted(group) for group in groups]

    def _converted(self, group: PoseGroups) -> PoseGroups:
        keypoints, scores = self.from_codec(group.keypoints, group.keypoint_scores)
        seen = (scores > 0).any(axis=1)  # somebody may consist of keypoints that the data set does not have
        return PoseGroups(keypoints[seen], scores[seen], group.scores[seen])

    def check_flip(self) -> None:
        """Raise ValueError unless `merge_flipped` can be used: unless the mirror image of each limb is a limb."""
        mirrored_limbs(self.codec.meta.limbs, self.codec.meta.swaps)

    def merge_flipped(self, maps: PAFMaps, mirrored: PAFMaps) -> PAFMaps:
        """Return the mean of the last maps and those of the mirrored images.

        Cells count from the middle of the outermost pixels outwards, so nothing is shifted; the width of the input has to be a
        multiple of the stride.

        Raises:
            ValueError: the mirror image of a limb is no limb.
        """
        meta = self.codec.meta
        channels = [*meta.swaps, *range(meta.num_keypoints, self.codec.num_heatmaps)]  # the background stays
        heatmaps = flip_heatmaps(mirrored.heatmaps[-1], channels)
        fields = flip_fields(mirrored.fields[-1], meta.limbs, meta.swaps)
        return PAFMaps(((maps.heatmaps[-1] + heatmaps) / 2,), ((maps.fields[-1] + fields) / 2,))

    def merge_scales(self, maps: Sequence[PAFMaps]) -> PAFMaps:
        """Return the mean of the last maps of images of several sizes, at the size of the first ones."""
        heatmaps = mean_of_scales([one.heatmaps[-1] for one in maps], frame='middle')
        return PAFMaps((heatmaps,), (mean_of_scales([one.fields[-1] for one in maps], frame='middle'),))


@HEADS.register_module()
class PAFHead(FieldHead):
    """Deconvolutions (each doubles the map), and one convolution each to heatmaps and fields, behind any backbone.

    Source: the head of Xiao et al., Simple Baselines, ECCV 2018, Sec. 2, arXiv:1804.06208, with the fields of Cao et al., CVPR
    2017, Sec. 2.3, arXiv:1611.08050.

    Args:
        in_channels: C of the coarsest map of the backbone or neck.
        meta: see `FieldHead`.
        codec: see `FieldHead`.
        deconv_out_channels: of each deconvolution; () for none.
        deconv_kernel_sizes: of each deconvolution: 2, 3 or 4; None is 4 for each.
        loss_heatmap: see `FieldHead`.
        loss_field: see `FieldHead`.

    Raises:
        ValueError: an argument is out of range or the lengths do not fit together.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        meta: KeypointMeta | Mapping[str, Any] | str,
        codec: Mapping[str, Any],
        deconv_out_channels: Sequence[int] = (256, 256, 256),
        deconv_kernel_sizes: Sequence[int] | None = None,
        loss_heatmap: Mapping[str, Any] | None = None,
        loss_field: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__((MAPS,), meta=meta, codec=codec, loss_heatmap=loss_heatmap, loss_field=loss_field)
        kernels = (4,) * len(deconv_out_channels) if deconv_kernel_sizes is None else deconv_kernel_sizes
        self.deconv_layers, channels = deconv_layers('PAFHead', in_channels, deconv_out_channels, kernels)
        self.heatmap_layer = nn.Conv2d(channels, self.num_channels['heatmaps'], 1)
        self.field_layer = nn.Conv2d(channels, self.num_channels['fields'], 1)

    def init_weights(self) -> None:
        """Set normal initial values of standard deviation 0.001; biases 0, batch norm 1 and 0."""
        init_normal(self)

    def forward(self, feats: Sequence[Tensor]) -> PAFMaps:
        """Return heatmaps and fields of one stage, made of the last (coarsest) of the maps."""
        x = self.deconv_layers(feats[-1])
        return PAFMaps((self.heatmap_layer(x),), (self.field_layer(x),))
