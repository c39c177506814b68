"""A detector run over files: boxes, masks and drawn pictures of any number of them in constant memory."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.model import BaseModel

from mmpose_lite.apis.detection import DEFAULT_BATCH_SIZE, ObjectsFile, detect, draw_detections
from mmpose_lite.apis.infer import build_test_pipeline
from mmpose_lite.apis.infer_files import RESULTS_NAME, FilesReport, PictureWriter, chunked, image_ids, picture_targets, read_jobs
from mmpose_lite.apis.media import Source


def detect_files(
    model: BaseModel,
    sources: Sequence[Source],
    out: str | Path,
    *,
    score_thr: float = 0.3,
    batch_size: int | None = None,
    with_pictures: bool = True,
    on_picture: Callable[[], None] = lambda: None,
) -> FilesReport:
    """Find the objects in all sources; write `results.json` (see `ObjectsFile`) and drawn pictures into the folder `out`.

    A file that cannot be read is noted in the report, and the others go on. The `image_id` of a picture is chosen as by
    `infer_files`. In the report people are objects.

    Args:
        model: a detector, from `init_model`.
        sources: from `find_sources`.
        out: folder, made if need be.
        score_thr: objects below it are not drawn; the results hold all of them.
        batch_size: pictures in a batch; None for `DEFAULT_BATCH_SIZE`.
        with_pictures: whether to draw.
        on_picture: called after each picture.

    Raises:
        ConfigError: a drawn picture would overwrite its source.
        TypeError: the model finds no objects.
    """
    out, report, meta = Path(out), FilesReport(), model.class_meta
    batch_size = DEFAULT_BATCH_SIZE if batch_size is None else batch_size
    targets = picture_targets(sources, out) if with_pictures else {}
    pipeline, ids = build_test_pipeline(model.cfg), image_ids(sources)
    jobs = chunked(read_jobs(sources, None, report), batch_size)
    with ObjectsFile(out / RESULTS_NAME, meta) as results, PictureWriter(targets) as pictures:
        while True:
            with report.timed('reading'):
                chunk = next(jobs, None)
            if chunk is None:
                return report
            with report.timed('network'):
                images = [job.frame.image for job in chunk]
                found = [sample.pred_instances for sample in detect(model, images, batch_size=batch_size, pipeline=pipeline)]
            for job, objects in zip(chunk, found):
                with report.timed('writing'):
                    report.num_pictures += 1
                    report.num_people += len(objects.bboxes)
                    results.add(ids.get(job.source.name, report.num_pictures), job.frame, objects)
                    if with_pictures:
                        drawn = draw_detections(job.frame.image, objects, meta, score_thr=score_thr)
                        pictures.add(job.source, job.frame, drawn)
                    on_picture()
