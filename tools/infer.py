"""Find the poses in images, folders and videos. Writes drawn pictures, and COCO-style results.json or OpenPose's files.

With --detector, a detector finds the people for a top-down network; a detector alone writes boxes, and masks where it has them.
A segmentation network gives the classes of the pixels: masks/*.png, drawn pictures/*.jpg, and their run lengths in results.json.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from mmpose_lite.apis.cli import CallError, add_cfg_options, add_device, choose_device, output_folder, run_command, whole_number


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, or its name')
    parser.add_argument('checkpoint', help='weights that fit the config: a file, an address, or a name of tools/zoo.py list')
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help='image, video, or folder of them')
    parser.add_argument(
        '--out', type=output_folder, default='work_dirs/infer', metavar='DIR', help='where to write (default: %(default)s)'
    )
    add_device(parser)
    parser.add_argument('--amp', action='store_true', help='mixed precision: bfloat16 autocast')
    parser.add_argument(
        '--boxes',
        metavar='FILE',
        help='for a top-down network, where people are: JSON of a detector (image_id or file_name, bbox xywh, score) or COCO '
        'annotations; frames of a video are called clip.mp4#0, clip.mp4#1 ... (default: the whole picture is one person)',
    )
    parser.add_argument(
        '--box-category',
        type=int,
        metavar='ID',
        help="of --boxes, whose boxes are used (default: the only one of annotations, or else 1, COCO's people)",
    )
    parser.add_argument(
        '--detector',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='for a top-down network: a detector that finds the people in every picture',
    )
    parser.add_argument(
        '--detector-class', default='person', metavar='NAME', help='of the detector, whose boxes are used (default: %(default)s)'
    )
    parser.add_argument('--box-score-thr', type=float, default=0.3, help='leave out boxes under it (default: %(default)s)')
    parser.add_argument(
        '--format',
        choices=('coco', 'openpose'),
        default='coco',
        help='of the results: one results.json, or NAME_keypoints.json for each picture (default: %(default)s)',
    )
    parser.add_argument('--track', action='store_true', help='number people from frame to frame of a video or image folder')
    parser.add_argument('--smooth', action='store_true', help='smooth their keypoints over time; tracks as well')
    parser.add_argument(
        '--score-thr',
        type=float,
        help='do not draw keypoints, or objects of a detector, under it (default: 0.3; 0.05 for a bottom-up network)',
    )
    parser.add_argument(
        '--batch-size',
        type=whole_number(1),
        help='people in a batch (default: 32); pictures for a bottom-up network (default: 8), a detector (4)',
    )
    parser.add_argument('--no-pictures', action='store_true', help='write results only')
    parser.add_argument('--trust', action='store_true', help='read a checkpoint that runs code of its own')
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    if args.boxes and args.detector:
        parser.error('--detector: finds the boxes; leave out --boxes')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    device = choose_device(args.device)
    # What follows imports mmengine, which must not happen before the device is chosen.
    import torch
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from mmpose_lite.apis.box_file import read_boxes
    from mmpose_lite.apis.detection import box_detector, is_detector
    from mmpose_lite.apis.infer import data_mode, init_model
    from mmpose_lite.apis.infer_files import RESULTS_NAME, infer_files
    from mmpose_lite.apis.media import count_frames, find_sources
    from mmpose_lite.checkpoints.reading import UntrustedCheckpointError
    from mmpose_lite.engine.config import load_config
    from mmpose_lite.engine.optim import computes_bfloat16
    from mmpose_lite.zoo.names import find_config

    cfg = load_config(find_config(args.config), args.cfg_options)
    if (args.boxes or args.detector) and data_mode(cfg) == 'bottomup':
        raise CallError(f'--boxes, --detector: the network of {args.config} is bottom-up and finds the people itself.')
    try:
        sources = find_sources(args.inputs)
        boxes = None
        if args.boxes:
            boxes = read_boxes(args.boxes, score_thr=args.box_score_thr, category_id=args.box_category)
        if boxes is not None and not any([source.is_video or boxes.find(source.name) for source in sources]):  # noqa: C419
            raise CallError(f'--boxes {args.boxes}: has boxes for none of the {len(sources)} inputs, such as {sources[0].name}.')
        model = init_model(cfg, args.checkpoint, device=device, trust=args.trust)
        detector = None
        if args.detector:
            network = init_model(*args.detector, device=device, trust=args.trust)
            detector = box_detector(network, category=args.detector_class, score_thr=args.box_score_thr)
    except (FileNotFoundError, TypeError, UntrustedCheckpointError, ValueError) as error:
        raise CallError(str(error)) from error

    has_classes = hasattr(model, 'class_meta')
    if has_classes and (args.boxes or args.detector or args.track or args.smooth or args.format != 'coco'):
        kind = 'detector' if is_detector(model) else 'segmentation network'
        raise CallError(f'--boxes, --detector, --track, --smooth and --format are for poses; {args.config} is a {kind}.')
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    autocast = torch.autocast(device, dtype=torch.bfloat16, enabled=args.amp and computes_bfloat16(device))
    with autocast, Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task('pictures', total=count_frames(sources))
        if has_classes:
            run = _detect if is_detector(model) else _segment
            return run(model, sources, args, on_picture=lambda: progress.advance(task))
        report = infer_files(
            model,
            sources,
            args.out,
            boxes=boxes,
            detector=detector,
            output_format=args.format,
            track=args.track,
            smooth=args.smooth,
            score_thr=args.score_thr,
            batch_size=args.batch_size,
            with_pictures=not args.no_pictures,
            on_picture=lambda: progress.advance(task),
        )
    results = f'{args.out}/{RESULTS_NAME}' if args.format == 'coco' else f'{args.out}/*_keypoints.json'
    print(f'{report.num_pictures} pictures, {report.num_people} people; {results}')
    print(report.lines())
    if report.unknown:
        print(f'{report.unknown} pictures are not in {args.boxes}: nobody is drawn there', file=sys.stderr)
    for failure in report.failures:
        print(f'error: {failure}', file=sys.stderr)
    return int(bool(report.failures))


def _detect(model: Any, sources: Sequence[Any], args: argparse.Namespace, *, on_picture: Callable[[], None]) -> int:
    from mmpose_lite.apis.detect_files import detect_files

    report = detect_files(
        model,
        sources,
        args.out,
        score_thr=0.3 if args.score_thr is None else args.score_thr,
        batch_size=args.batch_size,
        with_pictures=not args.no_pictures,
        on_picture=on_picture,
    )
    print(f'{report.num_pictures} pictures, {report.num_people} objects; {args.out}/results.json')
    print(report.lines())
    for failure in report.failures:
        print(f'error: {failure}', file=sys.stderr)
    return int(bool(report.failures))


def _segment(model: Any, sources: Sequence[Any], args: argparse.Namespace, *, on_picture: Callable[[], None]) -> int:
    from mmpose_lite.apis.segmentation import segment_files

    report = segment_files(model, sources, args.out, with_pictures=not args.no_pictures, on_picture=on_picture)
    print(f'{report.num_pictures} pictures; {args.out}/masks, {args.out}/results.json')
    for failure in report.failures:
        print(f'error: {failure}', file=sys.stderr)
    return int(bool(report.failures))


if __name__ == '__main__':
    sys.exit(run_command(main))
