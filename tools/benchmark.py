"""Measure how fast data comes, a network trains and predicts, and the pieces around them. What is compared runs in turns."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmpose_lite.apis.cli import CallError, add_cfg_options, add_device, choose_device, output_file, run_command, whole_number

if TYPE_CHECKING:
    from mmpose_lite.apis.benchmark import Report


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')

    data = commands.add_parser('data', help='training data: decoding alone, the whole pipeline, a loader with workers')
    data.add_argument('config', help='config file, or its name')
    data.add_argument('--num', type=whole_number(1), default=512, metavar='N', help='samples (default: %(default)s)')
    data.add_argument('--workers', type=whole_number(0), default=0, metavar='N', help='also a loader with so many workers')
    add_cfg_options(data)

    train = commands.add_parser('train', help='training steps: forward, backward, optimiser, engine, waiting for data')
    train.add_argument(
        '--iterations', type=whole_number(1), default=20, metavar='N', help='in a measurement (default: %(default)s)'
    )
    train.add_argument(
        '--profile', type=output_file, metavar='TRACE.json', help='also write a trace of the engine, and count waits for the GPU'
    )

    infer = commands.add_parser('infer', help='prediction with flip test: whole, network, decoding')
    infer.add_argument('--checkpoint', help='weights; without them those of the constructors are used')
    infer.add_argument('--batch-size', type=whole_number(1), nargs='+', default=[1, 32], metavar='N', help='(default: 1 32)')
    infer.add_argument(
        '--levels', type=whole_number(1), nargs='+', default=[], metavar='N', help='UNet++: pruned to each of them'
    )
    for parser_ in (train, infer):
        parser_.add_argument('config', help='config file, or its name')
        parser_.add_argument('--amp', action='store_true', help='mixed precision: bfloat16 autocast')
        comparisons = ('amp', 'channels-last', 'all', *(('slide',) if parser_ is infer else ()))
        parser_.add_argument('--compare', choices=comparisons, help='with and without it, in turns')
        parser_.add_argument('--synthetic', action='store_true', help='made-up batches; no data is read')
        add_device(parser_)
        add_cfg_options(parser_)

    decode = commands.add_parser('decode', help='encoding and decoding of heatmaps, and of part affinity fields')
    decode.add_argument(
        '--shape',
        type=whole_number(1),
        nargs=4,
        default=[64, 17, 64, 48],
        metavar=('B', 'K', 'H', 'W'),
        help='(default: 64 17 64 48)',
    )
    decode.add_argument(
        '--people', type=whole_number(1), nargs='+', default=[1, 5, 10, 20, 30], metavar='N', help='(default: 1 5 10 20 30)'
    )
    add_device(decode)

    nms = commands.add_parser('nms', help='suppression of poses by OKS, or of boxes by each variant')
    nms.add_argument('--of', choices=('poses', 'boxes'), default='poses', help='(default: %(default)s)')
    nms.add_argument(
        '--config', help='of a detector, whose boxes on the test data are suppressed: AP, AP75 and time of each variant'
    )
    nms.add_argument('--checkpoint', help='weights of the detector')
    add_cfg_options(nms)
    nms.add_argument(
        '--num', type=whole_number(1), nargs='+', metavar='N', help='(default: 20 100 1000 poses, or 1000 4000 boxes)'
    )
    nms.add_argument('--keypoints', type=whole_number(1), default=17, metavar='K', help='of a pose (default: %(default)s)')
    add_device(nms)

    evaluation = commands.add_parser('eval', help='OKS-AP of made-up people: pycocotools and faster-coco-eval')
    evaluation.add_argument(
        '--images', type=whole_number(1), default=5000, metavar='N', help='(default: %(default)s, as COCO val2017)'
    )
    evaluation.add_argument('--people', type=whole_number(1), default=11000, metavar='N', help='(default: %(default)s)')

    for command in commands.choices.values():
        command.add_argument(
            '--repeats', type=whole_number(1), default=5, metavar='N', help='of each measurement (default: %(default)s)'
        )
        command.add_argument(
            '--threads', type=whole_number(1), metavar='N', help='of torch in this process (default: its own choice)'
        )
        command.add_argument('--out', type=output_file, metavar='FILE.json', help='also write the figures to this file')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    device = choose_device(getattr(args, 'device', 'cpu'))
    import torch

    from mmpose_lite.engine.config import ConfigError

    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        report = _measure(args, device)
    except ConfigError:
        raise
    except (FileNotFoundError, ValueError) as error:
        raise CallError(str(error)) from error
    print(report.text())
    if args.out:
        report.write(args.out)
    return 0


def _measure(args: argparse.Namespace, device: str) -> 'Report':
    if args.command == 'decode':
        from mmpose_lite.apis.benchmark_ops import benchmark_codecs

        return benchmark_codecs(tuple(args.shape), num_people=args.people, repeats=args.repeats, device=device)
    if args.command == 'nms' and args.config:
        from mmpose_lite.apis.benchmark_nms import compare_on_detector
        from mmpose_lite.engine.config import load_config
        from mmpose_lite.zoo.names import find_config

        cfg = load_config(find_config(args.config), args.cfg_options)
        return compare_on_detector(cfg, checkpoint=args.checkpoint, repeats=args.repeats, device=device)
    if args.command == 'nms' and args.of == 'boxes':
        from mmpose_lite.apis.benchmark_nms import benchmark_box_nms

        return benchmark_box_nms(args.num or (1000, 4000), repeats=args.repeats, device=device)
    if args.command == 'nms':
        from mmpose_lite.apis.benchmark_ops import benchmark_nms

        counts = args.num or (20, 100, 1000)
        return benchmark_nms(counts, num_keypoints=args.keypoints, repeats=args.repeats, device=device)
    if args.command == 'eval':
        from mmpose_lite.apis.benchmark_ops import benchmark_evaluation

        return benchmark_evaluation(args.images, args.people, repeats=args.repeats)
    from mmpose_lite.engine.config import load_config
    from mmpose_lite.zoo.names import find_config

    cfg = load_config(find_config(args.config), args.cfg_options, reads=('input_size',))  # of made-up batches
    if args.command == 'data':
        from mmpose_lite.apis.benchmark_data import benchmark_data

        return benchmark_data(cfg, num_samples=args.num, repeats=args.repeats, workers=args.workers)
    network = dict(device=device, amp=args.amp, compare=args.compare, synthetic=args.synthetic, repeats=args.repeats)
    if args.command == 'train':
        from mmpose_lite.apis.benchmark_train import benchmark_train

        return benchmark_train(cfg, iterations=args.iterations, profile=args.profile, **network)
    from mmpose_lite.apis.benchmark_infer import benchmark_infer

    return benchmark_infer(cfg, checkpoint=args.checkpoint, batch_sizes=args.batch_size, levels=args.levels, **network)


if __name__ == '__main__':
    sys.exit(run_command(main))
