"""A model run over files: read, predict, write, each timed for itself; any number of files in constant memory."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.structures import InstanceData

from mmpose_lite.apis.box_file import BoxFile
from mmpose_lite.apis.infer import DEFAULT_BATCH_SIZE, Detector, build_test_pipeline, data_mode, detected_boxes, inference
from mmpose_lite.apis.media import Frame, MediaError, Source, VideoWriter
from mmpose_lite.apis.result_files import CocoResultWriter, OpenPoseResultWriter, People, openpose_name
from mmpose_lite.apis.smoothing import OneEuroSmoother
from mmpose_lite.apis.tracking import OksTracker
from mmpose_lite.errors import ConfigError
from mmpose_lite.structures import KeypointConverter, KeypointMeta
from mmpose_lite.visualization import draw_poses

RESULTS_NAME = 'results.json'
FORMATS = ('coco', 'openpose')
STAGES = ('reading', 'network', 'decoding', 'writing')
DEFAULT_SCORE_THR = dict(topdown=0.3, bottomup=0.05)  # what a grouping has put together is drawn
_MAX_PIXELS = 64_000_000  # of the pictures that wait for one call of the network: 192 MB
_TRACK_SECONDS = 1.0  # that a person may be out of sight


@dataclass
class FilesReport:
    """What `infer_files` did.

    Attributes:
        num_pictures: images and frames.
        num_people: in their results.
        seconds: of 'reading' (files and video), 'network' (crops or resizing, and the network), 'decoding' (from its output to
            poses, tracking and smoothing) and 'writing' (drawing, encoding and results); 'detector', where one finds the boxes.
        failures: one message for each file that could not be read.
        unknown: pictures that the box file does not know; they have no people.
    """

    num_pictures: int = 0
    num_people: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    failures: list[str] = field(default_factory=list)
    unknown: int = 0

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the time of the block for `stage`, less what blocks inside it count for theirs."""
        start, counted = time.perf_counter(), sum(self.seconds.values())
        try:
            yield
        finally:
            inside = sum(self.seconds.values()) - counted
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start - inside

    def lines(self) -> str:
        """Return the figures as text, a line per stage that there was."""
        seconds = self.seconds | dict(all=sum(self.seconds.values()))
        return '\n'.join(f'{stage:8} {s:9.2f} s {self.num_pictures / s:9.1f} pictures/s' for stage, s in seconds.items() if s > 0)


@dataclass
class Job:
    """A picture with its boxes, on the way to the network."""

    source: Source
    frame: Frame
    bboxes: np.ndarray | None
    bbox_scores: np.ndarray | None


def infer_files(
    model: BaseModel,
    sources: Sequence[Source],
    out: str | Path,
    *,
    boxes: BoxFile | None = None,
    detector: Detector | None = None,
    output_format: str = 'coco',
    track: bool = False,
    smooth: bool = False,
    score_thr: float | None = None,
    batch_size: int | None = None,
    with_pictures: bool = True,
    on_picture: Callable[[], None] = lambda: None,
) -> FilesReport:
    """Predict the poses in all sources; write results and drawn pictures into the folder `out`, over files of the same names.

    A file that cannot be read is noted in the report, and the others go on. The `image_id` of a picture is the number that ends
    its file name ('000000000785.jpg' is 785, as in COCO) if every source has one of its own; else pictures are counted from 1.
    With `output_format='openpose'` people have OpenPose's 18 keypoints, in files and pictures, where the model's keypoints have
    what these need; else those of the model.

    Args:
        model: from `init_model`.
        sources: from `find_sources`.
        out: folder, made if need be.
        boxes: from `read_boxes`, for a top-down network; None takes each whole picture as the box of one person.
        detector: finds the boxes instead, see `inference`; it gets the pictures of a batch together.
        output_format: 'coco': one `results.json`; 'openpose': a `NAME_keypoints.json` for each picture.
        track: number the people of each video from frame to frame; the images of a folder are frames of one video.
        smooth: smooth their keypoints over time; tracks as well.
        score_thr: keypoints under it are not drawn, the results hold all of them; None for `DEFAULT_SCORE_THR`.
        batch_size: people (bottom-up: pictures) in a batch; None for `DEFAULT_BATCH_SIZE`.
        with_pictures: whether to draw; else only the results are written.
        on_picture: called after each picture.

    Raises:
        ConfigError: a drawn picture would overwrite its source, or two pictures would have one result file.
        ResultError: a prediction is not finite.
        ValueError: the format is unknown, or boxes or a detector are given to a bottom-up network, or both.
    """
    out = Path(out)
    mode = data_mode(model.cfg)
    if output_format not in FORMATS:
        raise ValueError(f'infer_files: `output_format` must be one of {FORMATS}, got {output_format!r}.')
    if mode == 'bottomup' and not (boxes is None and detector is None):
        raise ValueError('infer_files: `boxes` and `detector` must be None for a bottom-up network, which finds people itself.')
    if boxes is not None and detector is not None:
        raise ValueError('infer_files: give `boxes` or a `detector`, not both.')
    batch_size = DEFAULT_BATCH_SIZE[mode] if batch_size is None else batch_size
    score_thr = DEFAULT_SCORE_THR[mode] if score_thr is None else score_thr
    targets = picture_targets(sources, out) if with_pictures else {}
    if output_format == 'openpose':
        _check_result_names(sources)
    convert = _conversion(model.meta, output_format)
    meta = model.meta if convert is None else convert.target
    follow = _Follower(meta, smooth=smooth) if track or smooth else None
    category_id = 1 if boxes is None else boxes.category_id
    coco = output_format == 'coco'
    writer = CocoResultWriter(out / RESULTS_NAME, category_id=category_id) if coco else OpenPoseResultWriter(out)
    pipeline = build_test_pipeline(model.cfg)
    report = FilesReport()
    ids = image_ids(sources)
    jobs = chunked(read_jobs(sources, boxes, report), batch_size)
    with writer as results, PictureWriter(targets) as pictures, _timed_decoding(model, report):
        while True:
            with report.timed('reading'):
                chunk = next(jobs, None)
            if chunk is None:
                return report
            if detector is not None:
                with report.timed('detector'):
                    found = detected_boxes(detector, [job.frame.image for job in chunk])
                    chunk = [replace(job, bboxes=bboxes, bbox_scores=scores) for job, (bboxes, scores) in zip(chunk, found)]
            has_boxes = not (boxes is None and detector is None)
            with report.timed('network'):
                predictions = inference(
                    model,
                    [job.frame.image for job in chunk],
                    [job.bboxes for job in chunk] if has_boxes else None,
                    bbox_scores=[job.bbox_scores for job in chunk] if has_boxes else None,
                    batch_size=batch_size,
                    pipeline=pipeline,
                )
            for job, prediction in zip(chunk, predictions):
                with report.timed('decoding'):
                    people = _people_of(prediction.pred_instances, mode, convert)
                    people = people if follow is None else follow(job.source, job.frame, people)
                with report.timed('writing'):
                    report.num_pictures += 1
                    report.num_people += len(people)
                    results.add(ids.get(job.source.name, report.num_pictures), job.frame, people)
                    if with_pictures:
                        pictures.add(job.source, job.frame, _drawn(job, people, meta, score_thr))
                    on_picture()


def read_jobs(sources: Sequence[Source], boxes: BoxFile | None, report: FilesReport) -> Iterator[Job]:
    nobody = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    for source in sources:
        try:
            for frame in source.frames():
                found = None if boxes is None else boxes.find(frame.name)
                report.unknown += boxes is not None and found is None
                bboxes, scores = (None, None) if boxes is None else found or nobody
                yield Job(source, frame, bboxes, scores)
        except MediaError as error:
            report.failures.append(str(error))


def chunked(jobs: Iterator[Job], batch_size: int) -> Iterator[list[Job]]:
    """Yield jobs together that fill a batch, as far as the memory for their pictures goes."""
    chunk: list[Job] = []
    people = pixels = 0
    for job in jobs:
        chunk.append(job)
        people += 1 if job.bboxes is None else len(job.bboxes)
        pixels += job.frame.image.shape[0] * job.frame.image.shape[1]
        if max(people, len(chunk)) >= batch_size or pixels >= _MAX_PIXELS:
            yield chunk
            chunk = []
            people = pixels = 0
    if chunk:
        yield chunk


@contextmanager
def _timed_decoding(model: BaseModel, report: FilesReport) -> Iterator[None]:
    """Count what the head's `decode` takes for 'decoding', rather than for the stage around it."""
    decode = model.head.decode
    on_gpu = next(model.parameters()).is_cuda

    def timed(raw: Any) -> Any:
        if on_gpu:
            torch.cuda.synchronize()  # what runs before is the network's
        with report.timed('decoding'):
            return decode(raw)

    model.head.decode = timed
    try:
        yield
    finally:
        del model.head.decode


def _conversion(meta: KeypointMeta, output_format: str) -> KeypointConverter | None:
    """Return the way to OpenPose's keypoints where the format asks for them and the model has what they need."""
    if output_format != 'openpose':
        return None
    try:
        return KeypointConverter(meta, KeypointMeta.load('openpose18'))
    except ValueError:
        return None


def _people_of(instances: InstanceData, mode: str, convert: KeypointConverter | None) -> People:
    """Return predicted instances as they are written. A top-down person's score is that of the box times its keypoints' mean."""
    keypoints, keypoint_scores, scores = instances.keypoints, instances.keypoint_scores, instances.bbox_scores
    if mode == 'topdown':
        scores = scores * keypoint_scores.mean(axis=-1)
    if convert is not None:
        keypoints, keypoint_scores = convert(keypoints, keypoint_scores)
    return People(keypoints, keypoint_scores, instances.bboxes, scores)


class _Follower:
    """Numbers the people of one video after the other, and smooths their keypoints; frames left out pass without anybody."""

    def __init__(self, meta: KeypointMeta, *, smooth: bool) -> None:
        self._meta = meta
        self._smooth = smooth
        self._video = ''
        self._next_index = 0
        self._tracker = OksTracker(meta.sigmas)
        self._smoother: OneEuroSmoother | None = None

    def __call__(self, source: Source, frame: Frame, people: People) -> People:
        video = source.name if source.is_video else str(source.path.parent)
        if video != self._video:
            fps = source.fps()
            self._video = video
            self._next_index = 0
            self._tracker = OksTracker(self._meta.sigmas, max_age=round(fps * _TRACK_SECONDS))
            self._smoother = OneEuroSmoother(fps=fps) if self._smooth else None
        for _ in range(frame.index - self._next_index):
            self._update(people.keypoints[:0], people.keypoint_scores[:0])
        self._next_index = frame.index + 1
        keypoints, numbers = self._update(people.keypoints, people.keypoint_scores)
        return replace(people, keypoints=keypoints, track_ids=numbers)

    def _update(self, keypoints: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the keypoints (N, K, 2) of the next frame, smoothed where that is asked for, and the people's numbers (N,)."""
        numbers = self._tracker.update(keypoints, scores)
        return keypoints if self._smoother is None else self._smoother.update(numbers, keypoints, scores), numbers


def image_ids(sources: Sequence[Source]) -> dict[str, int]:
    """Return name -> the number that ends the file name, or {} where not every source has one of its own."""
    numbers = [source.path.stem.rsplit('_', 1)[-1] for source in sources if not source.is_video]
    if len(numbers) < len(sources) or not all(n.isascii() and n.isdigit() for n in numbers):
        return {}
    ids = {source.name: int(number) for source, number in zip(sources, numbers)}
    return ids if len(set(ids.values())) == len(sources) else {}


def picture_targets(sources: Sequence[Source], out: Path) -> dict[str, Path]:
    """Return name -> the drawn picture or video."""
    targets = {}
    for source in sources:
        is_writable = not source.is_video or source.path.suffix.lower() in ('.mp4', '.avi')
        targets[source.name] = out / (source.name if is_writable else f'{source.name}.mp4')
        if targets[source.name].resolve() == source.path.resolve():
            raise ConfigError(f'the drawn {source.path} would overwrite its source; write into another folder than {out}.')
    return targets


def _check_result_names(sources: Sequence[Source]) -> None:
    names = Counter(openpose_name(f'{source.name}#0' if source.is_video else source.name) for source in sources)
    name, count = names.most_common(1)[0]
    if count > 1:
        raise ConfigError(f'{count} inputs would be written to one {name}; give them other names, or use the format coco.')


def _drawn(job: Job, people: People, meta: KeypointMeta, score_thr: float) -> np.ndarray:
    numbers = people.track_ids
    return draw_poses(
        job.frame.image,
        people.keypoints,
        people.keypoint_scores,
        meta=meta,
        score_thr=score_thr,
        bboxes=job.bboxes,
        labels=None if numbers is None else [str(n) if n >= 0 else '' for n in numbers.tolist()],
    )


class PictureWriter(ExitStack):
    """Write drawn pictures to the target of their source; the frames of a video, which come in a row, to one video.

    The frame after one that could not be read is shown for both, so that the video keeps its time.
    """

    def __init__(self, targets: dict[str, Path]) -> None:
        super().__init__()
        self._targets = targets
        self._name = ''
        self._video: VideoWriter | None = None
        self._next_index = 0

    def add(self, source: Source, frame: Frame, picture: np.ndarray) -> None:
        if source.name != self._name:
            self.close()  # the video before this one is whole
            self._name = source.name
            self._next_index = 0
            target = self._targets[source.name]
            self._video = self.enter_context(VideoWriter(target, fps=source.fps())) if source.is_video else None
        if self._video is not None:
            for _ in range(frame.index - self._next_index + 1):
                self._video.add(picture)
            self._next_index = frame.index + 1
            return
        target = self._targets[source.name]
        os.makedirs(target.parent, exist_ok=True)
        if not cv2.imwrite(str(target), picture):
            raise RuntimeError(f'the picture {target} could not be written.')
