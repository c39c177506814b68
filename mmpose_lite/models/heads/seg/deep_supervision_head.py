"""A classifier on each of several maps: the head of UNet++."""

# Letters: B batch, C channels, L levels, H x W cells.
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmpose_lite.models.heads.seg.decode_head import DecodeHead, Losses
from mmpose_lite.registry import HEADS
from mmpose_lite.structures import SampleBatch
from mmpose_lite.structures.class_meta import IGNORE_INDEX

MODES = ('fast', 'accurate')


@HEADS.register_module()
class DeepSupervisionHead(DecodeHead):
    """A 1x1 convolution to the classes on each of L maps of one size; the loss is the mean over them.

    Source: Zhou et al., UNet++, DLMIA 2018, Sec. 2.2, arXiv:1807.10165.

    Args:
        in_channels: see `DecodeHead`, as for all that is not below. C of each map.
        num_levels: L, the most maps there are.
        num_classes: C.
        level: use the first so many maps; None is all, see `prune`.
        mode: 'accurate' averages the probabilities of all levels, 'fast' takes those of the last.
        out_channels: None or 1.
        threshold: of a single channel.
        dropout_ratio: before the convolutions.
        loss_decode: loss or losses.
        ignore_index: of pixels without a class.
        align_corners: of resizing.

    Raises:
        ValueError: the arguments do not fit together.
    """

    def __init__(
        self,
        in_channels: int,
        num_levels: int = 4,
        *,
        num_classes: int,
        level: int | None = None,
        mode: str = 'accurate',
        out_channels: int | None = None,
        threshold: float = 0.5,
        dropout_ratio: float = 0.0,
        loss_decode: Losses | None = None,
        ignore_index: int = IGNORE_INDEX,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            in_channels,
            in_channels,
            num_classes=num_classes,
            out_channels=out_channels,
            threshold=threshold,
            dropout_ratio=dropout_ratio,
            loss_decode=loss_decode,
            ignore_index=ignore_index,
            align_corners=align_corners,
        )
        if mode not in MODES:
            raise ValueError(f'DeepSupervisionHead: `mode` must be one of {MODES}, got {mode!r}.')
        self.mode = mode
        self.conv_seg = nn.ModuleList(nn.Conv2d(in_channels, self.out_channels, 1) for _ in range(num_levels))
        if level is not None:
            self.prune(level)

    def prune(self, level: int) -> None:
        """Drop the levels above the first `level`, and take the last one's result alone ('fast').

        Raises:
            ValueError: there are not so many levels.
        """
        if not 1 <= level <= len(self.conv_seg):
            raise ValueError(f'DeepSupervisionHead: `level` must be 1 to {len(self.conv_seg)}, got {level}.')
        self.conv_seg = self.conv_seg[:level]
        self.mode = 'fast'

    def logits_of_levels(self, feats: Sequence[Tensor]) -> list[Tensor]:
        """Return (B, out_channels, H, W) of each map.

        Raises:
            ValueError: there is not one map per level.
        """
        self._check(feats)
        return [conv(self.dropout(x)) for conv, x in zip(self.conv_seg, feats)]

    def _check(self, feats: Sequence[Tensor]) -> None:
        if len(feats) != len(self.conv_seg):
            raise ValueError(
                f'DeepSupervisionHead: needs one map per level ({len(self.conv_seg)}), the backbone gives {len(feats)}; set '
                '`num_levels` and `level` of both alike.'
            )

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Return logits (B, out_channels, H, W): those of the last level, or of the mean of all levels' probabilities."""
        if self.mode == 'fast':
            self._check(feats)
            return self.conv_seg[-1](self.dropout(feats[len(self.conv_seg) - 1]))
        logits = torch.stack(self.logits_of_levels(feats))
        if self.out_channels == 1:
            on, off = (torch.logsumexp(nn.functional.logsigmoid(x.float()), dim=0) for x in (logits, -logits))
            return on - off
        return torch.logsumexp(logits.float().log_softmax(dim=2), dim=0) - math.log(len(logits))

    def loss(self, feats: Sequence[Tensor], data_samples: SampleBatch) -> dict[str, Tensor]:
        """Return the means over the levels of what `DecodeHead.loss` returns."""
        levels = [self.loss_by_logits(logits, data_samples) for logits in self.logits_of_levels(feats)]
        return {name: torch.stack([level[name] for level in levels]).mean() for name in levels[0]}
