"""Draw what the network is shown: crops as they come out of the pipeline, or whole images with their annotations."""

import argparse
import sys
from collections.abc import Sequence

from mmpose_lite.apis.cli import CallError, add_cfg_options, output_folder, run_command, whole_number


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, or its name')
    parser.add_argument('--out', type=output_folder, required=True, metavar='DIR', help='folder for the pictures')
    parser.add_argument('--split', choices=('train', 'val', 'test'), default='train', help='which data (default: %(default)s)')
    parser.add_argument('--num', type=whole_number(1), default=16, metavar='N', help='how many pictures (default: %(default)s)')
    parser.add_argument(
        '--mode',
        choices=('augmented', 'original'),
        default='augmented',
        help='augmented: crops after the pipeline; original: whole images with all annotated people (default: %(default)s)',
    )
    parser.add_argument('--heatmaps', action='store_true', help="beside each crop, the target heatmaps of the head's codec")
    parser.add_argument('--sheet', action='store_true', help='also write sheet.png with all the pictures')
    parser.add_argument(
        '--seed', type=whole_number(0), default=0, help='of the choice and of the augmentation (default: %(default)s)'
    )
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    if args.heatmaps and args.mode == 'original':
        parser.error('--heatmaps: are made for crops; leave out --mode original')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from mmpose_lite.apis.browse import browse
    from mmpose_lite.engine.config import ConfigError, load_config
    from mmpose_lite.zoo.names import find_config

    cfg = load_config(find_config(args.config), args.cfg_options)
    try:
        files = browse(
            cfg,
            args.out,
            split=args.split,
            num=args.num,
            mode=args.mode,
            heatmaps=args.heatmaps,
            sheet=args.sheet,
            seed=args.seed,
        )
    except ConfigError:
        raise
    except (FileNotFoundError, ValueError) as error:
        raise CallError(str(error)) from error
    print(f'{len(files)} pictures in {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(run_command(main))
