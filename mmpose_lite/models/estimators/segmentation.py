"""Segmentation: a class for every pixel."""

# Letters: B images, C classes, H x W px of an input, h x w of an image or a window.
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import ModuleList
from torch import Tensor, nn

from mmpose_lite.models.estimators.network import Network, as_factors
from mmpose_lite.models.heads.seg.decode_head import resize
from mmpose_lite.models.necks import build_neck
from mmpose_lite.registry import BACKBONES, HEADS, MODELS, PREPROCESSORS
from mmpose_lite.structures import ClassMeta, SampleBatch, SegDataSample

TEST_MODES = ('whole', 'slide')
TEST_OPTIONS: dict[str, Any] = dict(
    mode='whole', window_size=None, window_stride=None, window_batch=4, scales=(1.0,), flip_test=False
)

HeadConfig = Mapping[str, Any] | Sequence[Mapping[str, Any]]


@MODELS.register_module()
class EncoderDecoder(Network):
    """Backbone, optional neck, a head that is used, and heads that only help to train.

    Args:
        backbone: config of the backbone.
        decode_head: config of the head; it takes `num_classes` from `meta` unless it sets it.
        meta: the classes, anything `ClassMeta.load` takes; None for nameless ones, as many as `decode_head.num_classes`.
        neck: config of the neck, or of several in a row.
        auxiliary_head: config of a head, or of several, on maps inside the backbone.
        data_preprocessor: config of the preprocessor; None for ImageNet's mean and std.
        test_cfg: `mode`: 'whole', or 'slide': windows of `window_size` (w, h) every `window_stride` (w, h) px, whose scores are
            averaged, `window_batch` at a time; `scales`: average over the input at this size or these; `flip_test`: and its
            mirror images.

    Raises:
        ValueError: the parts do not fit together, or `test_cfg` has an unknown key or value.
    """

    def __init__(
        self,
        backbone: Mapping[str, Any],
        decode_head: Mapping[str, Any],
        *,
        meta: ClassMeta | Mapping[str, Any] | str | None = None,
        neck: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        auxiliary_head: HeadConfig | None = None,
        data_preprocessor: Mapping[str, Any] | None = None,
        test_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=PREPROCESSORS.build(data_preprocessor or dict(type='PoseDataPreprocessor')))
        if meta is None and 'num_classes' not in decode_head:
            raise ValueError('EncoderDecoder: `meta` must name the classes, or `decode_head.num_classes` say how many there are.')
        self.class_meta = ClassMeta.load(dict(classes=decode_head['num_classes']) if meta is None else meta)
        self.backbone = BACKBONES.build(backbone)
        self.neck = build_neck(neck)
        self.decode_head = self._build_head('decode_head', decode_head)
        self.auxiliary_head: nn.Module | None = None
        if isinstance(auxiliary_head, Mapping):
            self.auxiliary_head = self._build_head('auxiliary_head', auxiliary_head)
        elif auxiliary_head:
            self.auxiliary_head = ModuleList(self._build_head('auxiliary_head', cfg) for cfg in auxiliary_head)
        self._read_test_cfg(test_cfg or {})

    def _build_head(self, key: str, cfg: Mapping[str, Any]) -> nn.Module:
        head = HEADS.build(cfg, num_classes=self.class_meta.num_classes)
        if head.num_classes != self.class_meta.num_classes:
            raise ValueError(
                f'EncoderDecoder: `{key}.num_classes` must be the {self.class_meta.num_classes} classes of `meta` '
                f'({self.class_meta.name}), got {head.num_classes}.'
            )
        source = 'backbone' if self.neck is None else 'neck'
        channels = getattr(getattr(self, source), 'out_channels', None)
        for argument, (index, wanted) in head.maps_read().items() if isinstance(channels, tuple) else ():
            exist = all(-len(channels) <= i < len(channels) for i in index)
            if not exist or sum(channels[i] for i in index) != wanted:
                raise ValueError(
                    f'EncoderDecoder: `{key}.{argument}` is {wanted} for map {", ".join(map(str, index))}, but the maps of '
                    f'`{source}` ({type(getattr(self, source)).__name__}) have {channels} channels, finest first.'
                )
        return head

    def _read_test_cfg(self, cfg: Mapping[str, Any]) -> None:
        unknown = [key for key in cfg if key not in TEST_OPTIONS]
        if unknown:
            raise ValueError(f'EncoderDecoder: `test_cfg` takes {tuple(TEST_OPTIONS)}, got {unknown}.')
        options = TEST_OPTIONS | dict(cfg)
        if options['mode'] not in TEST_MODES:
            raise ValueError(f'EncoderDecoder: `test_cfg.mode` must be one of {TEST_MODES}, got {options["mode"]!r}.')
        self.slides = options['mode'] == 'slide'
        size, stride = options['window_size'], options['window_stride']
        are_pairs = all(isinstance(value, Sequence) and len(value) == 2 for value in (size, stride))
        if self.slides and not (are_pairs and all(0 < s <= w for s, w in zip(stride, size))):
            raise ValueError(
                "EncoderDecoder: `test_cfg.mode='slide'` needs `window_size` (w, h) and a `window_stride` (w, h) that is no "
                f'larger, got {size} and {stride}.'
            )
        self.window_size, self.window_stride = size, stride
        self.window_batch = int(options['window_batch'])
        self.scales = as_factors(options['scales'])
        self.flip_test = bool(options['flip_test'])
        if not self.scales or min(self.scales) <= 0 or self.window_batch < 1:
            raise ValueError(
                'EncoderDecoder: `test_cfg.scales` must be positive numbers and `window_batch` 1 or more, got '
                f'{self.scales} and {self.window_batch}.'
            )

    def prune(self, level: int) -> None:
        """Keep the first `level` decoders of a UNet++, for speed; backbone and head must be able to."""
        for name in ('backbone', 'decode_head'):
            if not hasattr(getattr(self, name), 'prune'):
                raise ValueError(f'EncoderDecoder: {type(getattr(self, name)).__name__} has no levels to prune; UNet++ has.')
        self.backbone.prune(level)
        self.decode_head.prune(level)

    def forward(self, inputs: Tensor, data_samples: SampleBatch | None = None, mode: str = 'tensor') -> Any:
        """Run the network.

        Args:
            inputs: (B, 3, H, W) normalised.
            data_samples: what belongs to the inputs; needed by 'loss' (its map `gt_seg_map`) and 'predict', which hands on the
                mask that it finds in the metainfo, or the map.
            mode: 'tensor': the raw logits of `decode_head`; 'loss': a dict of scalars; 'predict': a SegDataSample for each
                input, at the size of the original image.

        Raises:
            ValueError: the mode is unknown, or needs `data_samples`; masks to learn from have another size than the inputs.
        """
        self.check_mode(mode, data_samples)
        if mode == 'tensor':
            return self.decode_head(self.extract_feat(inputs))
        return self._loss(inputs, data_samples) if mode == 'loss' else self._predict(inputs, data_samples)

    def _loss(self, inputs: Tensor, data_samples: SampleBatch) -> dict[str, Tensor]:
        shape = tuple(data_samples.gt_seg_map.shape[1:]) if 'gt_seg_map' in data_samples else None
        if shape != inputs.shape[2:]:
            raise ValueError(
                f'EncoderDecoder: masks must have the size of the inputs (h, w) {tuple(inputs.shape[2:])} to learn from, got '
                f'{shape}; in a pipeline of training LoadSegMap stands before what resizes the image.'
            )
        feats = self.extract_feat(inputs)
        heads = {'decode': self.decode_head}
        if isinstance(self.auxiliary_head, ModuleList):
            heads |= {f'aux_{i}': head for i, head in enumerate(self.auxiliary_head)}
        elif self.auxiliary_head is not None:
            heads['aux'] = self.auxiliary_head
        return {
            f'{prefix}.{name}': value for prefix, head in heads.items() for name, value in head.loss(feats, data_samples).items()
        }

    @torch.no_grad()
    def _predict(self, inputs: Tensor, data_samples: SampleBatch) -> list[SegDataSample]:
        scores = self.scores(inputs)
        samples = []
        for i, given in enumerate(data_samples.metainfo):
            metainfo = dict(given)
            truth = metainfo.pop('gt_seg_map', None)  # of the image as it was
            if truth is None and 'gt_seg_map' in data_samples:
                truth = data_samples.gt_seg_map[i].cpu().numpy()
            sample = SegDataSample(metainfo=metainfo)
            h, w = metainfo.get('img_shape', inputs.shape[2:])
            of_image = resize(scores[i : i + 1, :, :h, :w], metainfo.get('ori_shape', (h, w)))[0]
            sample.pred_seg_map = self._labels(of_image).cpu().numpy()
            if truth is not None:
                sample.gt_seg_map = truth
            samples.append(sample)
        return samples

    def _labels(self, scores: Tensor) -> Tensor:
        """Return (h, w) uint8 labels of scores (C, h, w)."""
        if scores.shape[0] > 1:
            return scores.argmax(dim=0).to(torch.uint8)
        return (scores[0] > self.decode_head.threshold).to(torch.uint8)

    def scores(self, inputs: Tensor) -> Tensor:
        """Return (B, C, H, W) scores, the largest of which is the class of a pixel.

        They are probabilities, averaged over the passes that `test_cfg` asks for. Of a single pass and several channels they
        are logits.
        """
        passes = len(self.scales) * (2 if self.flip_test else 1)
        total: Tensor | None = None
        for scale in self.scales:
            size = [max(1, round(side * scale)) for side in inputs.shape[2:]]
            scaled = resize(inputs, size)
            for mirrored in (False, True) if self.flip_test else (False,):
                logits = self.logits(scaled.flip(-1) if mirrored else scaled)
                if passes == 1 and logits.shape[1] > 1:
                    return resize(logits, inputs.shape[2:])
                probs = logits.softmax(dim=1) if logits.shape[1] > 1 else logits.sigmoid()
                if mirrored:
                    probs = probs.flip(-1)
                    probs = probs[:, list(self.class_meta.swaps)] if probs.shape[1] > 1 else probs
                probs = resize(probs, inputs.shape[2:])
                total = probs if total is None else total + probs
        return total / passes

    def logits(self, inputs: Tensor) -> Tensor:
        """Return (B, C, H, W) logits of inputs (B, 3, H, W): of the whole, or put together from windows."""
        if not self.slides:
            return self.decode_head.predict(self.extract_feat(inputs), inputs.shape[2:])
        B, _, H, W = inputs.shape
        (w, h), (stride_w, stride_h) = self.window_size, self.window_stride
        w, h = min(w, W), min(h, H)
        corners = [(y, x) for y in window_starts(H, h, stride_h) for x in window_starts(W, w, stride_w)]
        total = inputs.new_zeros((B, self.decode_head.out_channels, H, W), dtype=torch.float32)
        counts = inputs.new_zeros((H, W), dtype=torch.float32)
        for start in range(0, len(corners), self.window_batch):
            some = corners[start : start + self.window_batch]
            windows = torch.cat([inputs[:, :, y : y + h, x : x + w] for y, x in some])
            logits = self.decode_head.predict(self.extract_feat(windows), (h, w))
            for (y, x), part in zip(some, logits.split(B)):
                total[:, :, y : y + h, x : x + w] += part
                counts[y : y + h, x : x + w] += 1
        return total / counts


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Return where windows begin that cover 0 ... length - 1; the last one ends at the end."""
    return [*range(0, length - window, stride), length - window]
