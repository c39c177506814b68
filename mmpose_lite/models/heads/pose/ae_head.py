"""Heads with heatmaps and tags: what they share, the plain one, and HigherHRNet's."""

# Letters: B batch, N people of one image, K keypoints, L numbers of a tag, H x W cells.
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.codecs.pose_groups import PoseGroups
from mmpose_lite.errors import ConfigError
from mmpose_lite.models.backbones.resnet import BasicBlock
from mmpose_lite.models.backbones.training import init_he
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.heads.pose.heatmap_layers import deconv_layers, init_normal
from mmpose_lite.models.heads.pose.whole_images import loss_mask_of
from mmpose_lite.ops.heatmap_flip import flip_heatmaps
from mmpose_lite.registry import CODECS, HEADS, LOSSES
from mmpose_lite.structures import KeypointMeta, SampleBatch


class AEMaps(NamedTuple):
    """What a head with tags gives.

    Attributes:
        heatmaps: (B, K, H, W), any range.
        tags: (B, L * K, H, W), the K channels of the first number of the tag first. Maps made of several passes or sizes have the
            numbers of all of them.
    """

    heatmaps: Tensor
    tags: Tensor


class TagHead(BaseModule):
    """Supervision of maps of one or more sizes, prediction from all of them together; a subclass writes `outputs`.

    Source: Newell et al., Associative Embedding, NeurIPS 2017, Sec. 3, arXiv:1611.05424.

    Args:
        meta: the keypoints, anything `KeypointMeta.load` understands.
        codec: config of the codec; it is given `meta`.
        tag_dim: L.
        loss_heatmap: config of the loss of the heatmaps, called as loss(pred, target, mask); None for MaskedMSELoss, averaged
            over cells and keypoints.
        loss_tag: config of the loss of the tags, called as loss(tags, indices, weights) for a pull and a push; None for
            AssociativeEmbeddingLoss of the published weight.

    Raises:
        ValueError: `tag_dim` is not positive, or the codec makes no tags.
    """

    def __init__(
        self,
        *,
        meta: KeypointMeta | Mapping[str, Any] | str,
        codec: Mapping[str, Any],
        tag_dim: int = 1,
        loss_heatmap: Mapping[str, Any] | None = None,
        loss_tag: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if tag_dim < 1:
            raise ValueError(f'{type(self).__name__}: `tag_dim` must be 1 or more, got {tag_dim}.')
        self.meta = KeypointMeta.load(meta)
        self.tag_dim = tag_dim
        self.codec = CODECS.build(codec, meta=self.meta)
        if not hasattr(self.codec, 'tag_thr'):
            raise ValueError(f'{type(self).__name__}: `codec` must make tags, as AECodec does, got {self.codec!r}.')
        self.loss_heatmap = LOSSES.build(loss_heatmap or dict(type='MaskedMSELoss', reduction='mean'))
        self.loss_tag = LOSSES.build(loss_tag or dict(type='AssociativeEmbeddingLoss', loss_weight=0.001))

    def num_channels(self, *, with_tags: bool = True) -> int:
        """Return the channels of an output: K heatmaps, and with tags L * K more."""
        return self.meta.num_keypoints * (1 + self.tag_dim * with_tags)

    def outputs(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return maps (B, K, H, W) or, with tags, (B, K + L * K, H, W), the finest last; some have tags."""
        raise NotImplementedError

    def forward(self, feats: Sequence[Tensor]) -> AEMaps:
        """Return the mean of all heatmaps and the tags of all outputs that have some, at the size of the finest output."""
        outputs = self.outputs(feats)
        K, size = self.meta.num_keypoints, outputs[-1].shape[-2:]
        resized = [_resized(output, size) for output in outputs]
        heatmaps = [output[:, :K] for output in resized]
        return AEMaps(sum(heatmaps) / len(heatmaps), torch.cat([output[:, K:] for output in resized], dim=1))

    def loss(self, feats: Sequence[Tensor], data_samples: SampleBatch) -> dict[str, Tensor]:
        """Return `loss_heatmap`, `loss_pull` and `loss_push`, each the sum over the outputs.

        Args:
            feats: maps of the backbone or neck.
            data_samples: with `keypoints_input` (N, K, 2) in input px and `keypoints_visible` (N, K) of each image, and the map
                `loss_mask` (B, h, w), 0 in the cells that are left out of the loss of the heatmaps; of any size.

        Raises:
            ConfigError: there is no mask, or the finest maps do not have the codec's size.
        """
        name, K = type(self).__name__, self.meta.num_keypoints
        mask = loss_mask_of(name, data_samples)[:, None].float()
        outputs = [output.float() for output in self.outputs(feats)]  # targets and differences are small: not in bfloat16
        size = (outputs[-1].shape[3], outputs[-1].shape[2])
        if size != self.codec.heatmap_size:
            raise ConfigError(
                f'{name}: the finest maps must be {self.codec.heatmap_size} (w, h), `codec.heatmap_size`, got {size}; check it '
                'and the size of the input.'
            )
        keypoints, visible = data_samples.padded('keypoints_input'), data_samples.padded('keypoints_visible')
        losses = {key: outputs[0].new_zeros(()) for key in ('loss_heatmap', 'loss_pull', 'loss_push')}
        for output in outputs:
            shape = output.shape[-2:]
            targets = self.codec.encode(keypoints, visible, heatmap_size=(shape[1], shape[0]))
            counted = functional.interpolate(mask, size=shape, mode='area')[:, 0]  # the share of a cell that counts
            losses['loss_heatmap'] = losses['loss_heatmap'] + self.loss_heatmap(output[:, :K], targets.heatmaps, counted)
            if output.shape[1] > K:
                pull, push = self.loss_tag(output[:, K:], targets.indices, targets.weights)
                losses['loss_pull'], losses['loss_push'] = losses['loss_pull'] + pull, losses['loss_push'] + push
        return losses

    def predict(self, feats: Sequence[Tensor], data_samples: SampleBatch | None = None) -> list[PoseGroups]:
        """Return the people in each image."""
        return self.decode(self.forward(feats))

    def decode(self, maps: AEMaps) -> list[PoseGroups]:
        """Return the people in each image, in input px."""
        return self.codec.decode(maps.heatmaps, maps.tags)

    def merge_flipped(self, maps: AEMaps, mirrored: AEMaps) -> AEMaps:
        """Return the mean of heatmaps and those of the mirrored images; tags of both, side by side, make longer tags.

        Cells count from the middle of the outermost pixels outwards, so nothing is shifted; the width of the input has to be a
        multiple of the stride.
        """
        K = self.meta.num_keypoints
        tag_swaps = [number * K + k for number in range(mirrored.tags.shape[1] // K) for k in self.meta.swaps]
        heatmaps = flip_heatmaps(mirrored.heatmaps, self.meta.swaps)
        tags = flip_heatmaps(mirrored.tags, tag_swaps)
        return AEMaps((maps.heatmaps + heatmaps) / 2, torch.cat((maps.tags, tags), dim=1))

    def merge_scales(self, maps: Sequence[AEMaps]) -> AEMaps:
        """Return the mean of the heatmaps of images of several sizes, at the size of the first ones, and the first tags.

        Source: Cheng et al., HigherHRNet, CVPR 2020, arXiv:1908.10357, as published in code, where tags are those of scale 1.
        """
        size = maps[0].heatmaps.shape[-2:]
        return AEMaps(sum(_resized(one.heatmaps, size) for one in maps) / len(maps), maps[0].tags)


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    return maps if maps.shape[-2:] == tuple(size) else functional.interpolate(maps, size=tuple(size), mode='bilinear')


@HEADS.register_module()
class AEHead(TagHead):
    """Deconvolutions (each doubles the map), and one convolution to heatmaps and tags.

    Source: Newell et al., NeurIPS 2017, arXiv:1611.05424; without deconvolutions behind HRNet, Cheng et al., HigherHRNet, CVPR
    2020, Table 2, arXiv:1908.10357.

    Args:
        in_channels: C of the coarsest map of the backbone or neck.
        meta: see `TagHead`.
        codec: see `TagHead`.
        tag_dim: see `TagHead`.
        deconv_out_channels: of each deconvolution; () for none.
        deconv_kernel_sizes: of each deconvolution: 2, 3 or 4; None is 4 for each.
        final_kernel_size: of the last convolution, odd.
        loss_heatmap: see `TagHead`.
        loss_tag: see `TagHead`.

    Raises:
        ValueError: an argument is out of range or the lengths do not fit together.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        meta: KeypointMeta | Mapping[str, Any] | str,
        codec: Mapping[str, Any],
        tag_dim: int = 1,
        deconv_out_channels: Sequence[int] = (),
        deconv_kernel_sizes: Sequence[int] | None = None,
        final_kernel_size: int = 1,
        loss_heatmap: Mapping[str, Any] | None = None,
        loss_tag: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(meta=meta, codec=codec, tag_dim=tag_dim, loss_heatmap=loss_heatmap, loss_tag=loss_tag)
        kernels = (4,) * len(deconv_out_channels) if deconv_kernel_sizes is None else deconv_kernel_sizes
        self.deconv_layers, channels = deconv_layers('AEHead', in_channels, deconv_out_channels, kernels)
        self.final_layer = _final_layer('AEHead', channels, self.num_channels(), final_kernel_size)

    def init_weights(self) -> None:
        """Set normal initial values of standard deviation 0.001; biases 0, batch norm 1 and 0."""
        init_normal(self)

    def outputs(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the one output, made of the last (coarsest) of the maps."""
        return (self.final_layer(self.deconv_layers(feats[-1])),)


@HEADS.register_module()
class HigherAEHead(TagHead):
    """An output on the finest map of the backbone, and one more after each deconvolution that doubles it.

    Source: Cheng et al., HigherHRNet, CVPR 2020, Sec. 3.2 and 3.3, arXiv:1908.10357.

    The keys of the state dict are those of mmpose 0.x's AEHigherResolutionHead, below `head` instead of `keypoint_head`.

    Args:
        in_channels: C of the finest map of the backbone or neck.
        meta: see `TagHead`.
        codec: see `TagHead`; its `heatmap_size` is that of the finest output.
        tag_dim: see `TagHead`.
        deconv_out_channels: of each deconvolution.
        deconv_kernel_sizes: of each deconvolution: 2, 3 or 4; None is 4 for each.
        num_blocks: residual blocks after each deconvolution.
        with_tags: of each output, coarse to fine; None: only the coarsest has tags.
        with_concat: of each deconvolution: it reads the output before it beside the features; None: all do.
        final_kernel_size: of the convolutions to the outputs, odd.
        loss_heatmap: see `TagHead`.
        loss_tag: see `TagHead`.

    Raises:
        ValueError: an argument is out of range or the lengths do not fit together.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        meta: KeypointMeta | Mapping[str, Any] | str,
        codec: Mapping[str, Any],
        tag_dim: int = 1,
        deconv_out_channels: Sequence[int] = (32,),
        deconv_kernel_sizes: Sequence[int] | None = None,
        num_blocks: int = 4,
        with_tags: Sequence[bool] | None = None,
        with_concat: Sequence[bool] | None = None,
        final_kernel_size: int = 1,
        loss_heatmap: Mapping[str, Any] | None = None,
        loss_tag: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(meta=meta, codec=codec, tag_dim=tag_dim, loss_heatmap=loss_heatmap, loss_tag=loss_tag)
        num_deconvs = len(deconv_out_channels)
        kernels = (4,) * num_deconvs if deconv_kernel_sizes is None else tuple(deconv_kernel_sizes)
        tagged = (True,) + (False,) * num_deconvs if with_tags is None else tuple(with_tags)
        self.with_concat = (True,) * num_deconvs if with_concat is None else tuple(with_concat)
        for argument, entries, expected in (
            ('deconv_kernel_sizes', kernels, num_deconvs),
            ('with_tags', tagged, num_deconvs + 1),
            ('with_concat', self.with_concat, num_deconvs),
        ):
            if len(entries) != expected:
                raise ValueError(f'HigherAEHead: `{argument}` needs {expected} entries, got {entries}.')
        if not any(tagged):
            raise ValueError(f'HigherAEHead: `with_tags` must be true for an output at least, got {tagged}.')
        outs = [self.num_channels(with_tags=with_tag) for with_tag in tagged]
        features = (in_channels, *deconv_out_channels)
        self.final_layers = nn.ModuleList(
            _final_layer('HigherAEHead', c, out, final_kernel_size) for c, out in zip(features, outs)
        )
        self.deconv_layers = nn.ModuleList()
        for c_in, c_out, kernel, out, concat in zip(features, deconv_out_channels, kernels, outs, self.with_concat):
            deconv, _ = deconv_layers('HigherAEHead', c_in + out * concat, (c_out,), (kernel,))
            blocks = (nn.Sequential(BasicBlock(c_out, c_out)) for _ in range(num_blocks))
            self.deconv_layers.append(nn.Sequential(deconv, *blocks))

    def init_weights(self) -> None:
        """Set He's initial values (fan out) in the blocks, normal ones of standard deviation 0.001 elsewhere."""
        init_normal(self)
        for layers in self.deconv_layers:
            init_he(layers[1:])

    def outputs(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the output on the first (finest) of the maps, and those of twice, four times ... its size."""
        x, *outs = feats[0], self.final_layers[0](feats[0])
        for deconv, final, concat in zip(self.deconv_layers, self.final_layers[1:], self.with_concat):
            x = deconv(torch.cat((x, outs[-1]), dim=1) if concat else x)
            outs.append(final(x))
        return tuple(outs)


def _final_layer(owner: str, in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f'{owner}: `final_kernel_size` must be odd, got {kernel_size}.')
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
