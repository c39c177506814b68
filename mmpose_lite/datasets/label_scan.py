"""Looks through the masks of a segmentation data set, before a training run meets what is wrong with them."""

# Letters: C classes.
import os
import textwrap
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from terminaltables import AsciiTable

from mmpose_lite.datasets.check_parts import read_header
from mmpose_lite.datasets.check_report import Level
from mmpose_lite.datasets.seg_maps import grey_hint, paint_regions, read_values, to_labels, unknown_values
from mmpose_lite.datasets.segmentation import SegmentationBase
from mmpose_lite.datasets.transforms.loading import read_image
from mmpose_lite.structures.class_meta import IGNORE_INDEX, UNKNOWN_LABEL

FAST_SAMPLE = 500  # masks that level 'fast' reads, evenly spread
_HINTS = {
    'label-value': 'give the dataset a `label_map`, choose another `meta`, or correct the files',
    'broken-mask': 'write the mask again',
    'broken-image': 'copy or download the image again',
    'mask-size': 'write the mask at the size of its image, which is shown upright if EXIF says that it is turned',
    'white-masks': 'if 255 is an object here, give the dataset `label_map={255: 1}`',
    'absent-class': 'remove it from `meta`, or add images of it; the network cannot learn it',
    'no-labels': 'remove the image; it teaches nothing',
    'shared-image': 'remove it from one: the metric is too good otherwise',
}
_WARNINGS = ('absent-class', 'no-labels', 'shared-image')


@dataclass(frozen=True)
class LabelFinding:
    """One thing that is wrong with one file, or with a class.

    Attributes:
        code: 'label-value', 'broken-mask', 'broken-image', 'mask-size', 'white-masks', 'absent-class', 'no-labels' or
            'shared-image'.
        where: the file, or the class, or all masks.
        what: for 'label-value' the values that are no classes, each with its number of pixels.
    """

    code: str
    where: str
    what: str

    @property
    def severity(self) -> str:
        return 'warning' if self.code in _WARNINGS else 'error'

    @property
    def fix(self) -> str:
        return _HINTS[self.code]


@dataclass
class LabelReport:
    """Counts and findings of the masks of one data set.

    Attributes:
        name: of the data set.
        level: 'full' or 'fast'.
        num_images: of the data set.
        num_scanned: masks that were read.
        pixels: class -> its share of the labelled pixels, in [0, 1].
        images: class -> number of images that have it.
        ignored: share of all pixels that have no class.
        findings: errors first.
    """

    name: str
    level: Level
    num_images: int
    num_scanned: int
    pixels: dict[str, float] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    ignored: float = 0.0
    findings: list[LabelFinding] = field(default_factory=list)

    @property
    def errors(self) -> list[LabelFinding]:
        return [f for f in self.findings if f.severity == 'error']

    @property
    def warnings(self) -> list[LabelFinding]:
        return [f for f in self.findings if f.severity == 'warning']

    @property
    def ok(self) -> bool:
        """True when nothing is wrong; warnings do not count."""
        return not self.errors

    def add(self, findings: Sequence[LabelFinding]) -> None:
        """Note findings, errors first."""
        self.findings = sorted([*self.findings, *findings], key=lambda finding: finding.severity != 'error')

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        findings = [{**asdict(f), 'severity': f.severity, 'fix': f.fix} for f in self.findings]
        return {**asdict(self), 'ok': self.ok, 'findings': findings}

    def table(self, width: int = 72, *, max_rows: int = 20) -> str:
        """Return the counts and findings as text; `width` is that of the last column, `max_rows` for findings of one kind."""
        counts = [['class', 'share of pixels', 'images']]
        counts += [[name, f'{share:.4f}', str(self.images[name])] for name, share in self.pixels.items()]
        counts.append(['(none)', f'{self.ignored:.4f} of all', ''])
        text = AsciiTable(counts, f' {self.name} ({self.level}): {self.num_scanned} of {self.num_images} masks ').table
        if not self.findings:
            return f'{text}\nno defects found'
        rows = [['severity', 'code', 'where', 'what it is, and what to do']]
        for code in dict.fromkeys(finding.code for finding in self.findings):
            of_code = [finding for finding in self.findings if finding.code == code]
            for finding in of_code[:max_rows]:
                rows.append([finding.severity, code, finding.where, textwrap.fill(finding.what, width)])
            more = f'{len(of_code) - max_rows} more. ' if len(of_code) > max_rows else ''
            rows.append(['', '', '', textwrap.fill(f'{more}Repair: {of_code[0].fix}.', width)])
        return f'{text}\n{AsciiTable(rows).table}'


def scan_labels(dataset: SegmentationBase, *, name: str = '', level: Level = 'full') -> LabelReport:
    """Read the masks of a data set, without its pipeline, and report what they hold and what is wrong with them.

    Args:
        dataset: of this package; its masks are read as LoadSegMap does.
        name: for the report.
        level: 'full' reads every mask and decodes every image; 'fast' reads `FAST_SAMPLE` masks, evenly spread, and of the images
            only their sizes.
    """
    samples = [dataset.get_data_info(i) for i in range(len(dataset))]
    chosen = samples
    if level == 'fast' and len(samples) > FAST_SAMPLE:
        chosen = [samples[i] for i in np.linspace(0, len(samples) - 1, FAST_SAMPLE).astype(int)]
    report = LabelReport(name or type(dataset).__name__, level, len(samples), len(chosen))
    total, present = np.zeros(256, np.int64), np.zeros(256, np.int64)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for counts, findings in pool.map(lambda sample: _scan_one(dataset, sample, level), chosen):
            total += counts
            present += counts > 0
            report.add(findings)
    classes = dataset.meta.classes
    labelled = max(int(total[: len(classes)].sum()), 1)
    report.pixels = {name: float(total[k] / labelled) for k, name in enumerate(classes)}
    report.images = {name: int(present[k]) for k, name in enumerate(classes)}
    report.ignored = float(total[IGNORE_INDEX] / max(int(total.sum()), 1))
    present_classes = [name for name, number in report.images.items() if number]
    if len(present_classes) == 1 and total[IGNORE_INDEX]:
        what = f'pixels are {present_classes[0]!r} or 255, which is no class: there is nothing to tell apart'
        report.add([LabelFinding('white-masks', 'all masks', what)])
    if total.any() and len(chosen) == len(samples):
        absent = [name for name, number in report.images.items() if number == 0]
        report.add([LabelFinding('absent-class', name, 'no pixel of any image has this class') for name in absent])
    return report


def _scan_one(dataset: SegmentationBase, sample: dict[str, Any], level: Level) -> tuple[np.ndarray, list[LabelFinding]]:
    """Return (256,) pixels of each label, and what is wrong with one image and its mask."""
    nothing, img_path = np.zeros(256, np.int64), sample['img_path']
    try:
        h, w = _image_shape(img_path, level)
    except (OSError, ValueError) as error:
        return nothing, [LabelFinding('broken-image', img_path, str(error))]
    if 'regions' in sample:
        try:
            labels = paint_regions(sample['regions'], (h, w))
        except ValueError as error:
            return nothing, [LabelFinding('mask-size', img_path, str(error))]
        return np.bincount(labels.ravel(), minlength=256), []
    if 'seg_map_path' not in sample:
        return nothing, []
    path = sample['seg_map_path']
    try:
        values = read_values(path)
    except (OSError, ValueError) as error:
        return nothing, [LabelFinding('broken-mask', path, str(error))]
    findings = []
    if values.shape[:2] != (h, w):
        what = f'the mask is {values.shape[1]} x {values.shape[0]} px (w x h), its image {w} x {h}'
        findings.append(LabelFinding('mask-size', path, what))
    try:
        labels = to_labels(values, dataset.meta, dataset.label_table)
    except ValueError as error:
        return nothing, [LabelFinding('label-value', path, str(error))]
    counts = np.bincount(labels.ravel(), minlength=256)
    if counts[UNKNOWN_LABEL]:
        wrong = unknown_values(values, labels)
        some = ', '.join(f'{value} ({number} px)' for value, number in list(wrong.items())[:8])
        more = f' and {len(wrong) - 8} more' if len(wrong) > 8 else ''
        what = f'values outside the {dataset.meta.num_classes} classes: {some}{more}{grey_hint(values)}'
        findings.append(LabelFinding('label-value', path, what))
    elif not counts[: dataset.meta.num_classes].any():
        findings.append(LabelFinding('no-labels', path, 'no pixel has a class'))
    return counts, findings


def _image_shape(path: str, level: Level) -> tuple[int, int]:
    """Return (h, w) as LoadImage gives it, upright; level 'fast' reads the header alone."""
    if level == 'full':
        return read_image(path).shape[:2]
    w, h, is_turned = read_header(path)
    return (w, h) if is_turned else (h, w)
