"""What the heads of segmentation networks share: choosing feature maps, the last convolution, the losses."""

# Letters: B batch, C classes (or channels), h x w cells of a feature map, H x W pixels of the labels.
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.backbones.training import init_he
from mmpose_lite.models.base import BaseModule
from mmpose_lite.registry import LOSSES
from mmpose_lite.structures import SampleBatch
from mmpose_lite.structures.class_meta import IGNORE_INDEX

INPUT_TRANSFORMS = ('resize_concat', None)
_LOSS_NAMES = {'CrossEntropyLoss': 'loss_ce', 'OhemCrossEntropy': 'loss_ohem'}  # others by their class: DiceLoss is loss_dice

Losses = Mapping[str, Any] | Sequence[Mapping[str, Any]]


def resize(x: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """Return (B, C, *size) of (B, C, h, w), bilinear; `size` is (h, w)."""
    if x.shape[2:] == tuple(size):
        return x
    return functional.interpolate(x, size=tuple(size), mode='bilinear', align_corners=align_corners)


def pixel_accuracy(logits: Tensor, labels: Tensor, *, threshold: float, ignore_index: int) -> Tensor:
    """Return the share of labelled pixels whose class has the highest score, in [0, 1]; 0 without labelled pixels."""
    pred = logits.argmax(dim=1) if logits.shape[1] > 1 else (logits[:, 0].sigmoid() > threshold).long()
    labelled = labels != ignore_index
    return ((pred == labels) & labelled).sum() / labelled.sum().clamp(min=1)


class DecodeHead(BaseModule):
    """A head ends in `conv_seg`, a 1x1 convolution from `channels` to the classes; a subclass writes `features`.

    Args:
        in_channels: C of the map that is read, or of each one with `input_transform`.
        channels: C of what `features` returns.
        num_classes: C.
        out_channels: of the logits: None for `num_classes`, or 1 for two classes, of which it is class 1.
        threshold: of a single channel: class 1 where its sigmoid is higher.
        dropout_ratio: of whole channels before `conv_seg`.
        in_index: which of the backbone's maps (finest first; -1 is the coarsest) is read, or are with `input_transform`.
        input_transform: 'resize_concat': bring several maps to the size of the first and join them; None: read one map.
        loss_decode: config of a loss, or of several that are added up; each may have a `loss_name` for the log. Losses that
            take `ignore_index` get that of the head. None: cross entropy, with sigmoid for a single channel.
        ignore_index: label of the pixels that belong to no class.
        align_corners: of all bilinear resizing.

    Raises:
        ValueError: the arguments do not fit together.
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        channels: int,
        *,
        num_classes: int,
        out_channels: int | None = None,
        threshold: float = 0.5,
        dropout_ratio: float = 0.1,
        in_index: int | Sequence[int] = -1,
        input_transform: str | None = None,
        loss_decode: Losses | None = None,
        ignore_index: int = IGNORE_INDEX,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        if num_classes < 2:
            raise ValueError(
                f'{owner}: `num_classes` must be 2 or more, got {num_classes}; what belongs to no object is a class too, such as '
                "'background'."
            )
        out_channels = num_classes if out_channels is None else out_channels
        if out_channels != num_classes and (out_channels, num_classes) != (1, 2):
            raise ValueError(
                f'{owner}: `out_channels` must be `num_classes` ({num_classes}), or 1 for two classes, got {out_channels}.'
            )
        if input_transform not in INPUT_TRANSFORMS:
            raise ValueError(f'{owner}: `input_transform` must be one of {INPUT_TRANSFORMS}, got {input_transform!r}.')
        several = input_transform is not None
        if several and (isinstance(in_channels, int) or isinstance(in_index, int) or len(in_channels) != len(in_index)):
            raise ValueError(
                f'{owner}: with `input_transform` `in_channels` and `in_index` need one entry per map, got {in_channels} and '
                f'{in_index}.'
            )
        self.in_channels = sum(in_channels) if several else in_channels
        self.channels = channels
        self.num_classes = num_classes
        self.out_channels = out_channels
        self.threshold = threshold
        self.in_index = in_index
        self.input_transform = input_transform
        self.ignore_index = ignore_index
        self.align_corners = align_corners
        if loss_decode is None:
            loss_decode = dict(type='CrossEntropyLoss', use_sigmoid=out_channels == 1)
        self.loss_decode, self.loss_names = _build_losses(loss_decode, ignore_index)
        self.conv_seg = nn.Conv2d(channels, out_channels, 1)
        self.dropout = nn.Dropout2d(dropout_ratio) if dropout_ratio > 0 else nn.Identity()

    def init_weights(self) -> None:
        """Set He's normal initial values (fan out); in `conv_seg` a standard deviation of 0.01, so that all classes are equal."""
        init_he(self)
        for conv in (m for m in self.conv_seg.modules() if isinstance(m, nn.Conv2d)):
            nn.init.normal_(conv.weight, std=0.01)

    def maps_read(self) -> dict[str, tuple[tuple[int, ...], int]]:
        """Return argument of the class -> indices of maps that are read, and the channels that it says they have together."""
        index = (self.in_index,) if isinstance(self.in_index, int) else tuple(self.in_index)
        return dict(in_channels=(index, self.in_channels))

    def select(self, feats: Sequence[Tensor]) -> Tensor:
        """Return the map (B, in_channels, h, w) that the head reads, of all the maps of the backbone or neck."""
        if self.input_transform is None:
            return feats[self.in_index]
        maps = [feats[i] for i in self.in_index]
        return torch.cat([resize(x, maps[0].shape[2:], align_corners=self.align_corners) for x in maps], dim=1)

    def features(self, feats: Sequence[Tensor]) -> Tensor:
        """Return (B, channels, h, w)."""
        raise NotImplementedError

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Return logits (B, out_channels, h, w) at the head's own resolution."""
        return self.conv_seg(self.dropout(self.features(feats)))

    def loss(self, feats: Sequence[Tensor], data_samples: SampleBatch) -> dict[str, Tensor]:
        """Return the losses by name, and `acc_seg`, the share of pixels that are right, without gradient.

        Args:
            feats: maps of the backbone or neck.
            data_samples: with the map `gt_seg_map` (B, H, W) of labels.
        """
        return self.loss_by_logits(self.forward(feats), data_samples)

    def loss_by_logits(self, logits: Tensor, data_samples: SampleBatch) -> dict[str, Tensor]:
        """Return what `loss` does, of logits (B, out_channels, h, w), which are brought to the size of the labels."""
        labels = data_samples.gt_seg_map.long()
        logits = self.enlarge(logits.float(), labels.shape[1:])
        target = labels[:, None] if self.out_channels == 1 else labels
        losses: dict[str, Tensor] = {}
        for name, module in zip(self.loss_names, self.loss_decode):
            value = module(logits, target)
            losses[name] = losses[name] + value if name in losses else value
        losses['acc_seg'] = pixel_accuracy(logits.detach(), labels, threshold=self.threshold, ignore_index=self.ignore_index)
        return losses

    def predict(self, feats: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return logits (B, out_channels, *size), float32; `size` is (h, w)."""
        return self.enlarge(self.forward(feats).float(), size)

    def enlarge(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        """Return logits (B, out_channels, *size) of those at the head's own resolution; `size` is (h, w)."""
        return resize(logits, size, align_corners=self.align_corners)


def _build_losses(cfg: Losses, ignore_index: int) -> tuple[nn.ModuleList, list[str]]:
    if not cfg:
        raise ValueError("a decode head's `loss_decode` must be the config of a loss, or of several, got none.")
    modules, names = [], []
    for part in [cfg] if isinstance(cfg, Mapping) else cfg:
        args = {key: value for key, value in part.items() if key != 'loss_name'}
        module = LOSSES.build(args, ignore_index=ignore_index)
        name = part.get('loss_name') or _default_name(module)
        if 'loss' not in name:
            raise ValueError(f"a decode head's `loss_name` must contain 'loss', or it would not be learnt from, got {name!r}.")
        modules.append(module)
        names.append(name)
    return nn.ModuleList(modules), names


def _default_name(module: nn.Module) -> str:
    name = type(module).__name__
    words = re.findall('[A-Z][a-z0-9]*|[A-Z]+', name.removesuffix('Loss'))
    return _LOSS_NAMES.get(name) or '_'.join(['loss', *words]).lower()
