"""What the detectors share: the parts, the modes, the views of a test."""

# Letters: B images, H x W px of an input, D detections of an image, h x w cells of a mask.
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmpose_lite.errors import ConfigError
from mmpose_lite.models.estimators.network import Network
from mmpose_lite.models.estimators.views import SIZE_FACTOR, Found, Look, View, ViewOptions, joined, views
from mmpose_lite.models.necks import build_neck
from mmpose_lite.ops.nms import Detections
from mmpose_lite.registry import BACKBONES, PREPROCESSORS
from mmpose_lite.structures import ClassMeta, DetDataSample, SampleBatch


class Detector(Network):
    """Backbone, optional neck, and the heads that a subclass makes.

    Args:
        backbone: config of the backbone.
        meta: the classes, anything `ClassMeta.load` takes, without a background.
        neck: config of the neck, or of several in a row.
        data_preprocessor: config of the preprocessor; None for ImageNet's mean and std.
        test_cfg: `scales`: factors on the size of the input; `flip_test`: each also mirrored. The boxes of all views are
            suppressed together, masks are averaged. `valid_ranges`: for each scale (lowest, highest) sqrt(w h) of the objects
            that are taken from it, px of the original image; None takes all (SNIP, arXiv:1711.08189, Sec. 5; see `SNIPResize`).

    Raises:
        ValueError: `test_cfg` has an unknown key or value.
    """

    def __init__(
        self,
        backbone: Mapping[str, Any],
        *,
        meta: ClassMeta | Mapping[str, Any] | str,
        neck: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        data_preprocessor: Mapping[str, Any] | None = None,
        test_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=PREPROCESSORS.build(data_preprocessor or dict(type='DetDataPreprocessor')))
        self.test_views = ViewOptions.of(type(self).__name__, test_cfg)
        self.class_meta = ClassMeta.load(meta)
        self.backbone = BACKBONES.build(backbone)
        self.neck = build_neck(neck)

    @property
    @abstractmethod
    def dense_head(self) -> nn.Module:
        """The head on every cell of the maps."""

    @property
    @abstractmethod
    def last_head(self) -> nn.Module:
        """The head whose `suppress` says what is found."""

    @abstractmethod
    def losses(self, feats: Sequence[Tensor], raw: Any, data_samples: SampleBatch) -> dict[str, Tensor]:
        """Return the losses by name, of the maps and of what `dense_head` makes of them."""

    @abstractmethod
    def look(self, view: View) -> Look:
        """Return what is found in a view, before suppression."""

    def check_head(self, key: str, head: nn.Module, *methods: str) -> None:
        """Raise ValueError unless the head of a config key has these methods, and the classes of `meta` if it has any."""
        name, wanted = type(self).__name__, self.class_meta.num_classes
        missing = [method for method in methods if not hasattr(head, method)]
        if missing:
            raise ValueError(f'{name}: `{key}` must be a head with `{missing[0]}`, which {type(head).__name__} has not.')
        if getattr(head, 'num_classes', wanted) != wanted:
            raise ValueError(
                f'{name}: `{key}.num_classes` must be the {wanted} classes of `meta` ({self.class_meta.name}), got '
                f'{head.num_classes}; leave it out, and it is.'
            )

    def forward(self, inputs: Tensor, data_samples: SampleBatch | None = None, mode: str = 'tensor') -> Any:
        """Run the network.

        Args:
            inputs: (B, 3, H, W) normalised.
            data_samples: what belongs to the inputs; needed by 'loss' (its objects) and 'predict' (its metainfo).
            mode: 'tensor': the raw output of `dense_head`; 'loss': a dict of scalars; 'predict': a DetDataSample for each input,
                in px of the original image.

        Raises:
            ValueError: the mode is unknown, or needs `data_samples`.
        """
        self.check_mode(mode, data_samples)
        if mode == 'predict':
            return self._predict(inputs, data_samples)
        feats = self.extract_feat(inputs)
        raw = self.dense_maps(inputs, feats)
        return raw if mode == 'tensor' else self.losses(feats, raw, data_samples)

    def dense_maps(self, inputs: Tensor, feats: Sequence[Tensor]) -> Any:
        """Return what `dense_head` makes of the maps of the inputs.

        Raises:
            ConfigError: the strides that the head was built for are not those of the maps.
        """
        raw = self.dense_head(feats)
        self.check_strides(type(self.dense_head).__name__, getattr(self.dense_head, 'strides', ()), raw[0], inputs)
        return raw

    def check_strides(self, owner: str, strides: Sequence[float], maps: Sequence[Tensor], inputs: Tensor) -> None:
        """Raise ConfigError where maps (B, C, h, w) of inputs (B, 3, H, W) cannot have these strides: boxes would be elsewhere.

        Strided layers round sides up or down, and enlarged maps are as far off as the coarsest was.
        """
        for x, stride in zip(maps, strides):
            for cells, side in zip(x.shape[2:], inputs.shape[2:]):
                if not side - stride < cells * stride < side + max(stride, SIZE_FACTOR):
                    raise ConfigError(
                        f'{owner}: the strides {tuple(strides)} px do not fit: the map of {stride} px has {cells} cells along '
                        f'{side} px of the input. The maps of the backbone have the strides '
                        f'{getattr(self.backbone, "strides", "that it knows")}.'
                    )

    @torch.no_grad()
    def candidates(self, inputs: Tensor, data_samples: SampleBatch) -> list[Found]:
        """Return what `predict` suppresses, of each image: boxes in px of the original; arguments as in `forward`."""
        return joined(self._looks(inputs, data_samples), data_samples)

    @torch.no_grad()
    def _predict(self, inputs: Tensor, data_samples: SampleBatch) -> list[DetDataSample]:
        looks = self._looks(inputs, data_samples)
        kept = [self.last_head.suppress(found) for found in joined(looks, data_samples)]
        samples = [_sample(detections, metainfo) for detections, metainfo in zip(kept, data_samples.metainfo)]
        return self.add_masks(samples, looks, kept)

    def _looks(self, inputs: Tensor, data_samples: SampleBatch) -> list[Look]:
        return [self.look(view) for view in views(inputs, data_samples, self.test_views)]

    def add_masks(self, samples: list[DetDataSample], looks: Sequence[Look], kept: Sequence[Detections]) -> list[DetDataSample]:
        """Return the samples of the images, with masks where there is a head for them."""
        return samples


def _sample(kept: Detections, metainfo: Mapping[str, Any]) -> DetDataSample:
    sample = DetDataSample(metainfo=dict(metainfo))
    found = {name: getattr(kept, name).cpu().numpy() for name in ('scores', 'labels')}
    sample.pred_instances = InstanceData(bboxes=kept.boxes.float().cpu().numpy(), **found)
    return sample
