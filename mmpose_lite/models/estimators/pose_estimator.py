"""What the estimators share: the parts, the modes, the passes of a test."""

# Letters: B images.
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmpose_lite.models.estimators.network import Network, as_factors
from mmpose_lite.models.necks import build_neck
from mmpose_lite.ops.heatmap_resize import resize_maps
from mmpose_lite.registry import BACKBONES, HEADS, PREPROCESSORS
from mmpose_lite.structures import KeypointMeta, PoseDataSample, SampleBatch

SIZE_FACTOR = 32  # px; the stride of every backbone divides it, so maps of all scales cover the whole input


class PoseEstimator(Network):
    """Backbone, optional neck and head; a subclass writes `merge_flipped` and `to_image_frame`.

    Args:
        backbone: config of the backbone.
        head: config of the head; it is given `meta` where it takes one.
        meta: the keypoints, anything `KeypointMeta.load` takes.
        neck: config of the neck, or of several in a row.
        data_preprocessor: config of the preprocessor; None for ImageNet's mean and std.
        test_cfg: the keys of `test_options`.

    Attributes:
        test_options: key of `test_cfg` -> its default. All have `flip_test`: average with the mirrored input; `scales`: factors
            on the size of the input, whose maps are averaged, 1 among them (sizes are rounded to multiples of `SIZE_FACTOR`); and
            `with_loss`: evaluation also reports the loss.

    Raises:
        ValueError: `test_cfg` has an unknown key, or asks for a flip test or scales that the head cannot do.
    """

    test_options: ClassVar[Mapping[str, Any]] = MappingProxyType(dict(flip_test=False, scales=(1.0,), with_loss=False))

    def __init__(
        self,
        backbone: Mapping[str, Any],
        head: Mapping[str, Any],
        *,
        meta: KeypointMeta | Mapping[str, Any] | str,
        neck: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        data_preprocessor: Mapping[str, Any] | None = None,
        test_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=PREPROCESSORS.build(data_preprocessor or dict(type='PoseDataPreprocessor')))
        name = type(self).__name__
        unknown = [key for key in test_cfg or {} if key not in self.test_options]
        if unknown:
            raise ValueError(f'{name}: `test_cfg` takes {tuple(self.test_options)}, got {unknown}.')
        self.meta = KeypointMeta.load(meta)
        self.backbone = BACKBONES.build(backbone)
        self.neck = build_neck(neck)
        self.head = HEADS.build(head, meta=self.meta)
        self.options = {**self.test_options, **(test_cfg or {})}
        self.flip_test = bool(self.options['flip_test'])
        self.with_loss = bool(self.options['with_loss'])
        scales = as_factors(self.options['scales'])
        if 1 not in scales or min(scales) <= 0 or len(set(scales)) != len(scales):
            raise ValueError(f'{name}: `test_cfg.scales` must be different positive numbers, 1 among them, got {scales}.')
        self.scales = (1.0, *(scale for scale in scales if scale != 1))
        if len(scales) > 1:
            self._needs('merge_scales', 'scales=(1.0,)', ', as only maps can be averaged over sizes')
        if self.flip_test:
            self.check_flip_test()

    def check_flip_test(self) -> None:
        """Raise ValueError unless head and options fit a flip test."""
        self._needs('merge_flipped', 'flip_test=False')
        if hasattr(self.head, 'check_flip'):  # not every set of limbs can be mirrored
            self.head.check_flip()

    def _needs(self, method: str, instead: str, why: str = '') -> None:
        if not hasattr(self.head, method):
            option = instead.partition('=')[0]
            raise ValueError(
                f'{type(self).__name__}: `test_cfg.{option}` needs a head with {method}; {type(self.head).__name__} has none'
                f'{why}. Set {instead}.'
            )

    def merge_passes(self, raw: Any, inputs: Tensor) -> Any:
        """Return the head's raw output, averaged with that of the mirrored inputs and of the other scales as `test_cfg` asks.

        Args:
            raw: what the head gives for the inputs as they are.
            inputs: (B, 3, H, W) normalised.
        """
        passes = []
        for scale in self.scales:
            scaled = inputs if scale == 1 else resize_maps(inputs, _size(inputs, scale), frame=self.input_frame)
            one = raw if scale == 1 else self.head(self.extract_feat(scaled))
            if self.flip_test:
                one = self.merge_flipped(one, self.head(self.extract_feat(scaled.flip(-1))))
            passes.append(one)
        return passes[0] if len(passes) == 1 else self.head.merge_scales(passes)

    @property
    @abstractmethod
    def input_frame(self) -> str:
        """How inputs of several sizes lie on each other; see `resize_maps`."""

    @abstractmethod
    def merge_flipped(self, raw: Any, mirrored: Any) -> Any:
        """Return the mean of the head's raw outputs for the inputs and for the mirrored inputs."""

    @abstractmethod
    def to_image_frame(self, decoded: Any, data_samples: SampleBatch) -> list[PoseDataSample]:
        """Return what the head decoded as one sample per image or crop, in px of the original image, on the host."""

    def forward(self, inputs: Tensor, data_samples: SampleBatch | None = None, mode: str = 'tensor') -> Any:
        """Run the network.

        Args:
            inputs: (B, 3, H, W) normalised.
            data_samples: what belongs to the inputs; needed by 'loss' and 'predict'.
            mode: 'tensor': the head's raw output; 'loss': a dict of scalars; 'predict': a PoseDataSample for each input, in px of
                the original image.

        Raises:
            ValueError: the mode is unknown, or needs `data_samples`.
        """
        self.check_mode(mode, data_samples)
        if mode == 'predict':
            return self._predict(inputs, data_samples)
        feats = self.extract_feat(inputs)
        return self.head(feats) if mode == 'tensor' else self.head.loss(feats, data_samples)

    @torch.no_grad()
    def _predict(self, inputs: Tensor, data_samples: SampleBatch) -> list[BaseDataElement]:
        feats = self.extract_feat(inputs)
        raw = self.merge_passes(self.head(feats), inputs)
        predictions: list[BaseDataElement] = [*self.to_image_frame(self.head.decode(raw), data_samples)]
        if self.with_loss and 'keypoints_input' in data_samples:
            # mmengine's validation loop averages what it finds in a last element that holds the loss alone.
            losses = {name: value for name, value in self.head.loss(feats, data_samples).items() if 'loss' in name}
            predictions.append(BaseDataElement(loss=losses))
        return predictions


def _size(inputs: Tensor, scale: float) -> tuple[int, int]:
    """Return the (w, h) of inputs (B, 3, H, W) at a scale, in multiples of `SIZE_FACTOR`."""
    H, W = (max(round(length * scale / SIZE_FACTOR), 1) * SIZE_FACTOR for length in inputs.shape[-2:])
    return W, H
