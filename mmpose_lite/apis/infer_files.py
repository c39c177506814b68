"""A model run over files: read, predict, write, each timed for itself; any number of files in constant memory."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from mmengine.model import BaseModel

from mmpose_lite.apis.box_file import BoxFile
from mmpose_lite.apis.infer import inference
from mmpose_lite.apis.media import Frame, MediaError, ResultWriter, Source, VideoWriter
from mmpose_lite.engine.config import ConfigError
from mmpose_lite.structures import PoseDataSample
from mmpose_lite.visualization import draw_poses

RESULTS_NAME = 'results.json'
_MAX_PIXELS = 64_000_000  # of the pictures that wait for one call of the network: 192 MB


@dataclass
class FilesReport:
    """What `infer_files` did.

    Attributes:
        num_pictures: images and frames.
        num_people: boxes that went through the network.
        seconds: of 'reading' (files and decoding), 'network' (crops, network and decoding of the poses) and 'writing' (drawing,
            encoding and results).
        failures: one message for each file that could not be read.
        unknown: pictures that the box file does not know; they have no people.
    """

    num_pictures: int = 0
    num_people: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict(reading=0.0, network=0.0, writing=0.0))
    failures: list[str] = field(default_factory=list)
    unknown: int = 0

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start

    def lines(self) -> str:
        """Return the figures as text, a line per stage."""
        speeds = {stage: self.num_pictures / max(seconds, 1e-9) for stage, seconds in self.seconds.items()}
        speeds['all'] = self.num_pictures / max(sum(self.seconds.values()), 1e-9)
        seconds = self.seconds | dict(all=sum(self.seconds.values()))
        return '\n'.join(f'{stage:8} {seconds[stage]:9.2f} s {speeds[stage]:9.1f} pictures/s' for stage in seconds)


@dataclass
class _Job:
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
    score_thr: float = 0.3,
    batch_size: int = 32,
    with_pictures: bool = True,
    on_picture: Callable[[], None] = lambda: None,
) -> FilesReport:
    """Predict the poses in all sources; write drawn pictures and COCO-style `results.json` into the folder `out`.

    A file that cannot be read is noted in the report, and the others go on. The `image_id` of a picture is the number that ends
    its file name ('000000000785.jpg' is 785, as in COCO) if every source has one of its own; else pictures are counted from 1.

    Args:
        model: from `init_model`.
        sources: from `find_sources`.
        out: folder, made if need be.
        boxes: from `read_boxes`; None takes each whole picture as the box of one person.
        score_thr: keypoints under it are not drawn; the results hold all of them.
        batch_size: people in a batch.
        with_pictures: whether to draw; else only the results are written.
        on_picture: called after each picture.

    Raises:
        ConfigError: a drawn picture would overwrite its source.
    """
    out = Path(out)
    targets = {source.name: _target(source, out) for source in sources}
    for source in sources:
        if with_pictures and targets[source.name].resolve() == source.path.resolve():
            raise ConfigError(f'the drawn {source.path} would overwrite its source; write into another folder than {out}.')
    report = FilesReport()
    ids = _image_ids(sources)
    jobs = _chunks(_jobs(sources, boxes, report), batch_size)
    with ResultWriter(out / RESULTS_NAME) as results, _PictureWriter(targets) as pictures:
        while True:
            with report.timed('reading'):
                chunk = next(jobs, None)
            if chunk is None:
                return report
            with report.timed('network'):
                predictions = inference(
                    model,
                    [job.frame.image for job in chunk],
                    [job.bboxes for job in chunk],
                    bbox_scores=[job.bbox_scores for job in chunk],
                    batch_size=batch_size,
                )
            with report.timed('writing'):
                for job, prediction in zip(chunk, predictions):
                    people = prediction.pred_instances
                    report.num_pictures += 1
                    report.num_people += len(people)
                    results.add(
                        ids.get(job.frame.name, report.num_pictures),
                        job.frame.name,
                        keypoints=people.keypoints,
                        keypoint_scores=people.keypoint_scores,
                        bboxes=people.bboxes,
                        bbox_scores=people.bbox_scores,
                    )
                    if with_pictures:
                        pictures.add(job.source, _drawn(model, job, prediction, score_thr))
                    on_picture()


def _jobs(sources: Sequence[Source], boxes: BoxFile | None, report: FilesReport) -> Iterator[_Job]:
    nobody = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    for source in sources:
        try:
            for frame in source.frames():
                found = None if boxes is None else boxes.find(frame.name)
                report.unknown += boxes is not None and found is None
                bboxes, scores = (None, None) if boxes is None else found or nobody
                yield _Job(source, frame, bboxes, scores)
        except MediaError as error:
            report.failures.append(str(error))


def _chunks(jobs: Iterator[_Job], batch_size: int) -> Iterator[list[_Job]]:
    """Yield jobs together that fill a batch, as far as the memory for their pictures goes."""
    chunk: list[_Job] = []
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


def _image_ids(sources: Sequence[Source]) -> dict[str, int]:
    """Return name -> the number that ends the file name, or {} where not every source has one of its own."""
    numbers = [source.path.stem.rsplit('_', 1)[-1] for source in sources if not source.is_video]
    if len(numbers) < len(sources) or not all(n.isascii() and n.isdigit() for n in numbers):
        return {}
    ids = {source.name: int(number) for source, number in zip(sources, numbers)}
    return ids if len(set(ids.values())) == len(sources) else {}


def _target(source: Source, out: Path) -> Path:
    is_writable = not source.is_video or source.path.suffix.lower() in ('.mp4', '.avi')
    return out / (source.name if is_writable else f'{source.name}.mp4')


def _drawn(model: BaseModel, job: _Job, prediction: PoseDataSample, score_thr: float) -> np.ndarray:
    people = prediction.pred_instances
    return draw_poses(
        job.frame.image, people.keypoints, people.keypoint_scores, meta=model.meta, score_thr=score_thr, bboxes=job.bboxes
    )


class _PictureWriter(ExitStack):
    """Write drawn pictures to the target of their source; the frames of a video, which come in a row, to one video."""

    def __init__(self, targets: dict[str, Path]) -> None:
        super().__init__()
        self._targets = targets
        self._name = ''
        self._video: VideoWriter | None = None

    def add(self, source: Source, picture: np.ndarray) -> None:
        if source.name != self._name:
            self.close()  # the video before this one is whole
            self._name = source.name
            target = self._targets[source.name]
            self._video = self.enter_context(VideoWriter(target, fps=source.fps())) if source.is_video else None
        if self._video is not None:
            self._video.add(picture)
            return
        target = self._targets[source.name]
        os.makedirs(target.parent, exist_ok=True)
        if not cv2.imwrite(str(target), picture):
            raise RuntimeError(f'the picture {target} could not be written.')
