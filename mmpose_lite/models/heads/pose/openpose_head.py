"""Stages that read the maps of the stages before them beside the image features, and correct them."""

# Letters: B batch, C channels, L limbs, H x W cells, S stages.
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmpose_lite.models.heads.pose.paf_head import MAPS, FieldHead, PAFMaps
from mmpose_lite.registry import HEADS, LAYERS
from mmpose_lite.structures import KeypointMeta


@HEADS.register_module()
class OpenPoseHead(FieldHead):
    """S stages, each of which makes fields, heatmaps or both, all of them supervised.

    A stage reads the latest fields, the latest heatmaps (where there are any yet) and the image features, in this order.

    Source: six stages of `OpenPoseStage` that make both: Cao et al., CVPR 2017, Sec. 2.1, arXiv:1611.08050; stages of
    `OpenPoseDenseStage`, first for the fields, then for the heatmaps: Cao et al., TPAMI 2019, Sec. 3.2, arXiv:1812.08008; a
    `LightweightInitialStage` and a `LightweightRefinementStage`: Osokin, arXiv:1811.12004.

    Args:
        in_channels: C of the coarsest map of the backbone or neck.
        stages: configs of the stages, `type` of the LAYERS registry, each with `maps`: what it makes, ('fields', 'heatmaps'),
            ('fields',) or ('heatmaps',). The type is called with `in_channels` and `out_channels`: a dict of `maps` and their C.
        meta: see `FieldHead`.
        codec: see `FieldHead`.
        loss_heatmap: see `FieldHead`.
        loss_field: see `FieldHead`.
        stage_weights: see `FieldHead`.

    Raises:
        ValueError: an argument is out of range or the lengths do not fit together.
    """

    def __init__(
        self,
        in_channels: int,
        stages: Sequence[Mapping[str, Any]],
        *,
        meta: KeypointMeta | Mapping[str, Any] | str,
        codec: Mapping[str, Any],
        loss_heatmap: Mapping[str, Any] | None = None,
        loss_field: Mapping[str, Any] | None = None,
        stage_weights: Sequence[float] | None = None,
    ) -> None:
        for number, stage in enumerate(stages):
            maps = stage.get('maps')
            if not maps or isinstance(maps, str) or not set(maps) <= set(MAPS):
                raise ValueError(f'OpenPoseHead: `maps` of stage {number} must be a selection of {MAPS}, got {maps!r}.')
        super().__init__(
            [stage['maps'] for stage in stages],
            meta=meta,
            codec=codec,
            loss_heatmap=loss_heatmap,
            loss_field=loss_field,
            stage_weights=stage_weights,
        )
        self.stages = nn.ModuleList()
        read: dict[str, int] = {}
        for stage in stages:
            out_channels = {maps: self.num_channels[maps] for maps in MAPS if maps in stage['maps']}
            cfg = {key: value for key, value in stage.items() if key != 'maps'}
            self.stages.append(LAYERS.build(cfg, in_channels=in_channels + sum(read.values()), out_channels=out_channels))
            read |= out_channels

    def init_weights(self) -> None:
        """Let each stage set its initial values."""
        for stage in self.stages:
            stage.init_weights()

    def forward(self, feats: Sequence[Tensor]) -> PAFMaps:
        """Return the maps of all stages, made of the last (coarsest) of the maps."""
        made: dict[str, list[Tensor]] = {maps: [] for maps in MAPS}
        for stage in self.stages:
            latest = [made[maps][-1] for maps in MAPS if made[maps]]
            for maps, value in stage(torch.cat((*latest, feats[-1]), dim=1)).items():
                made[maps].append(value)
        return PAFMaps(tuple(made['heatmaps']), tuple(made['fields']))
