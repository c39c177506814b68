"""What a check of an annotation file can find, and the report that it returns."""

import textwrap
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from terminaltables import AsciiTable

Level = Literal['full', 'fast']

IMAGE_TOLERANCE = 2.0  # px: boxes may pass the image border by this much (COCO's own do so by rounding)
KEYPOINT_TOLERANCE = 1.0  # px: as above, for labelled keypoints
BOX_MARGIN = 0.5  # a labelled keypoint farther from its box than this times the longer side belongs to somebody else


class Rule(NamedTuple):
    """What a code means."""

    severity: Literal['error', 'warning']
    subject: Literal['image', 'annotation', 'category', 'detection']
    problem: str
    fix: str


# Errors break training or falsify the metric; warnings are worth a look and may be right as they stand.
RULES: dict[str, Rule] = {
    'duplicate-image-id': Rule(
        'error', 'image', 'several images share one id', 'give every entry of `images` its own id and update image_id'
    ),
    'duplicate-file-name': Rule(
        'warning',
        'image',
        'several images name the same file, so each misses the people of the other',
        'join the entries and point the annotations of both at one id',
    ),
    'missing-image': Rule(
        'error', 'image', 'the image file does not exist', 'correct data_root and data_prefix, or remove the entry'
    ),
    'broken-image': Rule(
        'error', 'image', 'the image file cannot be decoded to its end', 'copy or download the file again, or remove the entry'
    ),
    'image-size': Rule(
        'error',
        'image',
        'width and height are not positive or not those of the decoded file',
        'write the size of the decoded image, and check that the annotations were not made on a resized copy',
    ),
    'image-rotated': Rule(
        'error',
        'image',
        'width and height are those of the stored pixels, but the EXIF tag turns the image when it is loaded',
        'rotate the annotations with the image (training sees the EXIF-rotated image), or remove the EXIF orientation tag',
    ),
    'empty-image': Rule(
        'warning', 'image', 'no annotation (other than crowds) belongs to the image', 'annotate it, or remove it to save time'
    ),
    'duplicate-annotation-id': Rule(
        'error', 'annotation', 'several annotations share one id', 'give every entry of `annotations` its own id'
    ),
    'unknown-image-id': Rule(
        'error', 'annotation', 'image_id is the id of no image', 'correct image_id, or remove the annotation'
    ),
    'unknown-category-id': Rule(
        'error', 'annotation', 'category_id is the id of no category', 'correct category_id, or add the category'
    ),
    'bad-bbox': Rule(
        'error',
        'annotation',
        'bbox is not [x, y, w, h] of finite numbers with w > 0 and h > 0',
        'correct it (corners x1, y1, x2, y2 are a frequent slip), or remove the key: the box is then made from the keypoints',
    ),
    'bbox-outside': Rule(
        'error', 'annotation', 'bbox lies wholly outside its image', 'correct bbox or image_id (annotations of another image?)'
    ),
    'bbox-beyond': Rule(
        'warning',
        'annotation',
        f'bbox passes the border of its image by more than {IMAGE_TOLERANCE:g} px',
        'cut it at the border; boxes given as corners x1, y1, x2, y2 look like this too',
    ),
    'bad-area': Rule(
        'error',
        'annotation',
        'area is not a positive number, but keypoints are labelled (the OKS divides by the area)',
        'correct it, or remove the key: it is then derived from the box',
    ),
    'area-off-bbox': Rule(
        'warning',
        'annotation',
        'area is less than a thousandth of its box, or more than four times as much (the OKS divides by the area)',
        'write px^2, or remove the key: it is then derived from the box',
    ),
    'relative': Rule(
        'error',
        'annotation',
        'all boxes, or all keypoints, of the file lie between 0 and 1: these are shares of the image, not px',
        'multiply x and w by the width of the image, y and h by its height',
    ),
    'degenerate-bbox': Rule(
        'warning',
        'annotation',
        'bbox is absent, not of finite numbers, or smaller than `min_box_size`: the object is left out',
        'correct it (corners x1, y1, x2, y2 are a frequent slip), or remove the annotation',
    ),
    'mask': Rule(
        'error',
        'annotation',
        'the segmentation is absent, or neither polygons nor an RLE of the size of the image',
        'write polygons or an RLE of the size of the image, or [] for an object whose mask is not known',
    ),
    'mask-empty': Rule(
        'warning', 'annotation', 'the mask has no pixels, so the object is ignored in training', 'draw its outline'
    ),
    'mask-off-bbox': Rule(
        'warning',
        'annotation',
        f'the mask reaches beyond its box, or ends inside it, by more than {IMAGE_TOLERANCE:g} px and a tenth of its side',
        'make the box of the mask; masks and boxes of a resized or turned copy look like this too',
    ),
    'segmentation': Rule(
        'warning',
        'annotation',
        "the segmentation of a crowd or of somebody without a labelled keypoint is unusable (data_mode='bottomup' stops there)",
        'write polygons or an RLE of the size of the image, or remove the key: the box is then left out of the loss',
    ),
    'keypoints-length': Rule(
        'error', 'annotation', 'keypoints is not a list of 3 K numbers (x, y, visibility)', 'correct the list, or the meta'
    ),
    'nothing-labelled': Rule(
        'error', 'annotation', 'no annotation of the file has a labelled keypoint', 'use a keypoint file, not one of boxes only'
    ),
    'keypoints-value': Rule(
        'error', 'annotation', 'x or y of a labelled keypoint is not a finite number', 'correct it, or set its visibility to 0'
    ),
    'visibility': Rule(
        'error',
        'annotation',
        'a visibility is not 0 (not labelled), 1 (labelled, hidden) or 2 (labelled, visible)',
        'write 2 for visible keypoints; scores of a detector do not belong here',
    ),
    'keypoint-outside-image': Rule(
        'warning', 'annotation', 'a labelled keypoint lies outside the image', 'correct it, or set its visibility to 0'
    ),
    'keypoint-far-from-bbox': Rule(
        'warning',
        'annotation',
        f'a labelled keypoint is farther from its box than {BOX_MARGIN:g} times the longer side',
        'correct the box or the keypoint; a labelled keypoint at 0, 0 is one that was never set (visibility 0)',
    ),
    'num-keypoints': Rule(
        'warning',
        'annotation',
        'num_keypoints is not the number of keypoints with visibility > 0',
        'count again, or remove the key: it is then derived',
    ),
    'left-right': Rule(
        'warning',
        'annotation',
        'left and right keypoints look swapped',
        'look at the picture and swap the names of the face or the body; when nearly every person is listed, the file gives '
        'its keypoints in another order than the meta',
    ),
    'no-categories': Rule(
        'warning', 'category', 'the file has no `categories`, so its keypoint names cannot be compared', 'add the section'
    ),
    'category-count': Rule(
        'error', 'category', 'the category names another number of keypoints than the meta', 'use the meta of this data set'
    ),
    'category-order': Rule(
        'error',
        'category',
        'the keypoint names of the category are those of the meta, in another order',
        'write a meta whose `keypoints` have the order of the file; each number would be taken for another keypoint',
    ),
    'category-names': Rule(
        'warning',
        'category',
        'the keypoint names of the category differ from those of the meta',
        'make sure that the order of the numbers is that of the meta; only the names may differ',
    ),
    'classes': Rule('error', 'category', 'categories and classes do not fit', 'give `meta` the names that the categories have'),
    'nothing-annotated': Rule(
        'error', 'annotation', 'no object of the classes is annotated that is not a crowd', 'use another file or `meta`'
    ),
    'detection-bbox': Rule(
        'error',
        'detection',
        'bbox is not [x, y, w, h] of finite numbers with w > 0 and h > 0, or score is not a number',
        'write the detector output again as xywh',
    ),
    'detection-image-id': Rule('error', 'detection', 'image_id is the id of no image', 'use the detections made on this split'),
    'shared-image': Rule(
        'warning', 'image', 'the image is also in the training split', 'remove it from one: the metric is too good otherwise'
    ),
}


@dataclass(frozen=True)
class Finding:
    """One code and all that it concerns.

    Attributes:
        code: a key of `RULES`.
        count: how many images, annotations, categories or detections.
        ids: the first of their ids (for detections: positions in the file).
        example: the values of the first one.
    """

    code: str
    count: int
    ids: tuple[int, ...]
    example: str = ''

    @property
    def severity(self) -> str:
        return RULES[self.code].severity

    @property
    def subject(self) -> str:
        return RULES[self.code].subject

    @property
    def problem(self) -> str:
        return RULES[self.code].problem

    @property
    def fix(self) -> str:
        return RULES[self.code].fix


@dataclass
class CheckReport:
    """Counts and findings of one annotation file.

    Attributes:
        ann_file: the file.
        level: 'full' or 'fast'.
        num_images: G.
        num_instances: annotations that are no crowds.
        num_crowds: annotations with iscrowd = 1.
        num_sampled: annotations whose boxes and keypoints were looked at (all, but for large files at level 'fast').
        num_labelled: keypoint name -> number of instances in which it is labelled (visibility > 0); class -> its objects.
        instances_per_image: min, mean, max.
        box_sizes: percentile -> sqrt(w h), in px, of the instances with a good box.
        findings: errors first.
    """

    ann_file: str
    level: Level
    num_images: int = 0
    num_instances: int = 0
    num_crowds: int = 0
    num_sampled: int = 0
    num_labelled: dict[str, int] = field(default_factory=dict)
    instances_per_image: dict[str, float] = field(default_factory=dict)
    box_sizes: dict[str, float] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def errors(self) -> list[Finding]:
        return [f for f in self.findings if f.severity == 'error']

    @property
    def warnings(self) -> list[Finding]:
        return [f for f in self.findings if f.severity == 'warning']

    @property
    def ok(self) -> bool:
        """True when nothing is wrong; warnings do not count."""
        return not self.errors

    def add(self, code: str, ids: Iterable[int], *, max_ids: int = 10, example: str = '') -> None:
        """Note what `code` concerns; no ids, no finding."""
        ids = [int(i) for i in ids]
        if ids:
            self.findings.append(Finding(code, len(ids), tuple(ids[:max_ids]), example))
            self.findings.sort(key=lambda finding: finding.severity != 'error')

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        findings = [{**asdict(f), **RULES[f.code]._asdict()} for f in self.findings]
        return {**asdict(self), 'ok': self.ok, 'findings': findings}

    def table(self, width: int = 72) -> str:
        """Return the counts and findings as text; `width` is that of the last column."""
        per_image, sizes = self.instances_per_image, self.box_sizes
        counts = [
            ['images', str(self.num_images)],
            ['instances', f'{self.num_instances} (and {self.num_crowds} crowds)'],
            ['instances per image', '  '.join(f'{name} {value:.3g}' for name, value in per_image.items()) or '-'],
            ['box size (px)', '  '.join(f'{name} {value:.0f}' for name, value in sizes.items()) or '-'],
            ['sampled annotations', str(self.num_sampled)],
            ['labelled', textwrap.fill('  '.join(f'{name} {n}' for name, n in self.num_labelled.items()), width)],
        ]
        text = AsciiTable(counts, f' {self.ann_file} ({self.level}) ')
        text.inner_heading_row_border = False
        if not self.findings:
            return f'{text.table}\nno defects found'
        rows = [['severity', 'code', 'count', 'ids', 'what it is, and what to do']]
        for finding in self.findings:
            ids = ' '.join(map(str, finding.ids)) + (' ...' if finding.count > len(finding.ids) else '')
            what = f'{finding.problem}{f" ({finding.example})" if finding.example else ""}.'
            said = f'{textwrap.fill(what, width)}\n{textwrap.fill(f"Repair: {finding.fix}.", width)}'
            rows.append([finding.severity, finding.code, str(finding.count), textwrap.fill(ids, 24), said])
        return f'{text.table}\n{AsciiTable(rows).table}'
