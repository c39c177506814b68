"""From uint8 batches to what the network computes with, on the device."""

# Letters: B images of H x W px.
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor

from mmpose_lite.registry import PREPROCESSORS

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # RGB, of 0..255
IMAGENET_STD = (58.395, 57.12, 57.375)


@PREPROCESSORS.register_module()
class PoseDataPreprocessor(BaseDataPreprocessor):
    """Move a batch to the device, reorder the channels and normalise.

    Inputs get the memory format of the network: channels-last after `model.to(memory_format=torch.channels_last)`, as the runner
    calls it where that is safe, else contiguous. (In training on the CPU it is not always: see `engine.memory`.)

    Args:
        mean: per channel after the reordering, of 0..255.
        std: per channel after the reordering.
        bgr_to_rgb: reverse the channels.
    """

    def __init__(
        self, *, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD, bgr_to_rgb: bool = True
    ) -> None:
        super().__init__(non_blocking=True)
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(
                f'PoseDataPreprocessor: `mean` and `std` must be 3 numbers, std above 0, got {tuple(mean)}, {tuple(std)}.'
            )
        self.bgr_to_rgb = bgr_to_rgb
        self.register_buffer('layout', torch.zeros(2, 2, 2, 2), persistent=False)  # follows `to(memory_format=...)`
        scale = 1 / torch.tensor(std)
        self.register_buffer('scale', scale.view(1, 3, 1, 1), persistent=False)
        self.register_buffer('offset', (-torch.tensor(mean) * scale).view(1, 3, 1, 1), persistent=False)

    @property
    def memory_format(self) -> torch.memory_format:
        """That of the inputs; changed by `to(memory_format=...)` of the network, or by hand."""
        is_last = self.layout.is_contiguous(memory_format=torch.channels_last)
        return torch.channels_last if is_last else torch.contiguous_format

    @memory_format.setter
    def memory_format(self, value: torch.memory_format) -> None:
        self.layout = self.layout.contiguous(memory_format=value)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Return `inputs` (B, 3, H, W) float32, normalised, in `memory_format`; `data_samples` on the device."""
        inputs = data['inputs'].to(self.device, non_blocking=True)
        if inputs.ndim != 4 or inputs.shape[1] != 3:
            raise ValueError(f'PoseDataPreprocessor: `inputs` must be (B, 3, H, W), got {tuple(inputs.shape)}.')
        inputs = torch.addcmul(self.offset, inputs.flip(1) if self.bgr_to_rgb else inputs, self.scale)
        inputs = inputs.contiguous(memory_format=self.memory_format)
        samples = data.get('data_samples')
        return dict(inputs=inputs, data_samples=None if samples is None else samples.to(self.device, non_blocking=True))


@PREPROCESSORS.register_module()
class DetDataPreprocessor(PoseDataPreprocessor):
    """As PoseDataPreprocessor; what was filled up beyond an image is 0 after normalisation, as detectors are trained.

    Arguments as in PoseDataPreprocessor.
    """

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Return `inputs` (B, 3, H, W) float32, 0 outside of each image's `img_shape`; `data_samples` on the device."""
        batch = super().forward(data, training)
        H, W = batch['inputs'].shape[2:]
        metainfo = [] if batch['data_samples'] is None else batch['data_samples'].metainfo
        for image, info in zip(batch['inputs'], metainfo):
            h, w = info['img_shape']
            if h < H:
                image[:, h:] = 0
            if w < W:
                image[:, :h, w:] = 0
        return batch
