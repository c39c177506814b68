"""Detection in one stage: a head says of every cell what is there."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mmpose_lite.models.estimators.detector import Detector
from mmpose_lite.models.estimators.views import Look, View
from mmpose_lite.registry import HEADS, MODELS
from mmpose_lite.structures import ClassMeta, SampleBatch


@MODELS.register_module()
class SingleStageDetector(Detector):
    """Backbone, optional neck, and a head on every cell of its maps.

    Args:
        backbone: config of the backbone.
        bbox_head: config of the head; it is given `num_classes`, from `meta`.
        meta: the classes; see `Detector`, as for what follows.
        neck: config of the neck, or of several in a row.
        data_preprocessor: config of the preprocessor.
        test_cfg: `scales`, `flip_test` and `valid_ranges`.

    Raises:
        ValueError: `test_cfg` has an unknown key or value, or asks for several views of a head that suppresses nothing; the head
            proposes only, or has not the classes of `meta`.
    """

    def __init__(
        self,
        backbone: Mapping[str, Any],
        bbox_head: Mapping[str, Any],
        *,
        meta: ClassMeta | Mapping[str, Any] | str,
        neck: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        data_preprocessor: Mapping[str, Any] | None = None,
        test_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(backbone, meta=meta, neck=neck, data_preprocessor=data_preprocessor, test_cfg=test_cfg)
        self.bbox_head = HEADS.build(bbox_head, num_classes=self.class_meta.num_classes)
        self.check_head('bbox_head', self.bbox_head, 'candidates')
        if self.test_views.count > 1 and self.bbox_head.nms is None:
            raise ValueError(
                f'SingleStageDetector: `test_cfg` asks for {self.test_views.count} views, in each of which an object is found; '
                "`bbox_head.nms` must be a suppression, such as dict(type='HardNMS'), got None."
            )

    @property
    def dense_head(self) -> nn.Module:
        """The head on every cell of the maps."""
        return self.bbox_head

    @property
    def last_head(self) -> nn.Module:
        """The same."""
        return self.bbox_head

    def losses(self, feats: Sequence[Tensor], raw: Any, data_samples: SampleBatch) -> dict[str, Tensor]:
        """Return the losses by name, of what the head makes of the maps."""
        return self.bbox_head.loss(raw, data_samples)

    def look(self, view: View) -> Look:
        """Return what is found in a view, before suppression."""
        raw = self.dense_maps(view.inputs, self.extract_feat(view.inputs))
        return Look(view, self.bbox_head.candidates(raw, view.data_samples))
