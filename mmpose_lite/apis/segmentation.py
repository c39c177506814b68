"""Using a segmentation model: the class of every pixel of images and files, as masks, run lengths and pictures."""

# Letters: H x W px.
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.model import BaseModel
from PIL import Image as PILImage
from pycocotools import mask as mask_api

from mmpose_lite.apis.infer import Image, Pipeline, build_test_pipeline
from mmpose_lite.apis.media import AtomicFile, Frame, MediaError, Source
from mmpose_lite.datasets.collate import pose_collate
from mmpose_lite.datasets.transforms.loading import read_image
from mmpose_lite.errors import ConfigError
from mmpose_lite.structures import ClassMeta, SegDataSample
from mmpose_lite.visualization import draw_segmentation

RESULTS_NAME = 'results.json'


@torch.inference_mode()
def segment(model: BaseModel, images: Image | Sequence[Image], *, pipeline: Pipeline | None = None) -> list[SegDataSample]:
    """Return the classes of the pixels of each image, one image after the other, as `test_cfg` of the model says.

    Args:
        model: from `init_model`, an EncoderDecoder in evaluation mode.
        images: one image, or a list: files, or (H, W, 3) BGR uint8 arrays.
        pipeline: from `build_test_pipeline`, for many calls; None builds that of the model's config.

    Returns:
        One sample per image, in order, with `pred_seg_map` (H, W) uint8 at the size of the image; the metainfo has img_path,
        img_id (the place in the list) and ori_shape (h, w).

    Raises:
        TypeError: the model predicts no classes of pixels.
        ValueError: an image cannot be decoded, or an array is no image.
        RuntimeError: the model is in training mode.
    """
    if not hasattr(model, 'decode_head'):
        raise TypeError(
            f'segment: `model` must be a segmentation network, got {type(model).__name__}; use `inference` for poses.'
        )
    if model.training:
        raise RuntimeError('segment: the model is in training mode; call model.eval() first.')
    pipeline = build_test_pipeline(model.cfg) if pipeline is None else pipeline
    results = []
    for index, image in enumerate([images] if isinstance(images, str | Path | np.ndarray) else images):
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
                raise ValueError(f'segment: image {index} must be (H, W, 3) BGR uint8, got {image.shape} {image.dtype}.')
            pixels, path = image, f'image {index}'
        else:
            pixels, path = read_image(str(image)), str(image)
        sample = pipeline(dict(img=pixels, img_path=path, img_id=index, rng=np.random.default_rng(0)))
        results += model.test_step(pose_collate([sample]))
    return results


def class_regions(labels: np.ndarray, meta: ClassMeta) -> list[dict[str, Any]]:
    """Return for each class in (H, W) uint8 labels, but for 'background', COCO's fields of its pixels.

    They are category_id (the label), category (its name), segmentation (RLE), area (px) and bbox (xywh).
    """
    entries = []
    for label in np.unique(labels).tolist():
        if label == 0 and meta.classes[0] == 'background':
            continue
        rle = mask_api.encode(np.asfortranarray(labels == label, dtype=np.uint8))
        segmentation = dict(size=[int(side) for side in rle['size']], counts=rle['counts'].decode('ascii'))
        area, bbox = int(mask_api.area(rle)), mask_api.toBbox(rle).tolist()
        entries.append(dict(category_id=label, category=meta.classes[label], segmentation=segmentation, area=area, bbox=bbox))
    return entries


def save_mask(labels: np.ndarray, path: Path, meta: ClassMeta) -> None:
    """Write (H, W) uint8 labels as a palette PNG in the colours of `meta`; `read_values` and SegmentationDataset read it back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = PILImage.fromarray(labels)
    image.putpalette(np.array(meta.palette, np.uint8).tobytes())
    image.save(path)


@dataclass
class SegmentReport:
    """What `segment_files` did.

    Attributes:
        num_pictures: images and frames.
        failures: one message for each file that could not be read.
    """

    num_pictures: int = 0
    failures: list[str] = field(default_factory=list)


class _RegionsFile(AtomicFile):
    """Writes entries into one JSON list, as they come; it appears under its name when the block ends without an error."""

    def __enter__(self) -> '_RegionsFile':
        self._file = open(self._partial, 'w')
        self._before = '[\n'
        return self

    def add(self, entry: dict[str, Any]) -> None:
        """Append one entry."""
        self._file.write(self._before + json.dumps(entry))
        self._before = ',\n'

    def _close(self) -> None:
        self._file.write('[]\n' if self._before == '[\n' else '\n]\n')
        self._file.close()


def segment_files(
    model: BaseModel,
    sources: Sequence[Source],
    out: str | Path,
    *,
    with_pictures: bool = True,
    on_picture: Callable[[], None] = lambda: None,
) -> SegmentReport:
    """Predict the classes of the pixels of all sources, and write them into the folder `out`.

    It gets `masks/NAME.png` (palette PNG, the value is the class), `pictures/NAME.jpg` (drawn) and `results.json`: a list of the
    fields of `class_regions` with `file_name`. The frames of a video are in a folder of its name. A file that cannot be read is
    noted in the report, and the others go on.

    Args:
        model: from `init_model`.
        sources: from `find_sources`.
        out: folder, made if need be.
        with_pictures: whether to draw.
        on_picture: called after each picture.

    Raises:
        ConfigError: two pictures would have one mask, or a drawn picture would overwrite its source.
        TypeError: the model predicts no classes of pixels.
    """
    out, report = Path(out), SegmentReport()
    _check_names(sources, out)
    pipeline = build_test_pipeline(model.cfg)
    with _RegionsFile(out / RESULTS_NAME) as regions:
        for source, frame in _frames(sources, report):
            (sample,) = segment(model, frame.image, pipeline=pipeline)
            labels, name = sample.pred_seg_map, _file_name(source, frame.index)
            save_mask(labels, out / 'masks' / f'{name}.png', model.class_meta)
            for entry in class_regions(labels, model.class_meta):
                regions.add(dict(file_name=frame.name, **entry))
            if with_pictures:
                path = out / 'pictures' / f'{name}.jpg'
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), draw_segmentation(frame.image, labels, meta=model.class_meta))
            report.num_pictures += 1
            on_picture()
    return report


def _frames(sources: Sequence[Source], report: SegmentReport) -> Iterator[tuple[Source, Frame]]:
    for source in sources:
        try:
            for frame in source.frames():
                yield source, frame
        except MediaError as error:
            report.failures.append(str(error))


def _file_name(source: Source, index: int) -> str:
    """Return 'street/0001' for street/0001.jpg, and 'clip.mp4/000012' for frame 12 of a video."""
    return f'{source.name}/{index:06d}' if source.is_video else str(Path(source.name).with_suffix(''))


def _check_names(sources: Sequence[Source], out: Path) -> None:
    owners: dict[str, str] = {}
    for source in sources:
        name = _file_name(source, 0)
        if name in owners:
            raise ConfigError(f'{owners[name]} and {source.name} would have one mask, masks/{name}.png; name the files apart.')
        owners[name] = source.name
        for path in (out / 'masks' / f'{name}.png', out / 'pictures' / f'{name}.jpg'):
            if path.absolute() == source.path:
                raise ConfigError(f'{path} is an input, which the results would overwrite; choose another folder for them.')
