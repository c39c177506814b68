"""Convert the annotations of a data set to COCO-style keypoint files."""

import argparse
import sys
from collections.abc import Sequence

from mmpose_lite.apis.cli import CallError, run_command


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='dataset', required=True, metavar='DATASET')
    lsp = commands.add_parser('lsp', help='Leeds Sports Pose, also the extended set (LSPET)')
    lsp.add_argument('--joints', required=True, help='joints.mat')
    lsp.add_argument('--images', required=True, help='folder of im0001.jpg ... (LSP) or im00001.jpg ... (LSPET)')
    lsp.add_argument('--out', required=True, help='folder for person_keypoints_train.json and person_keypoints_val.json')
    lsp.add_argument('--num-train', type=int, help='the first so many people are for training (default: four fifths)')
    lsp.add_argument('--overwrite', action='store_true', help='replace files of these names in --out')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from mmpose_lite.datasets.converters import convert_lsp

    try:
        written = convert_lsp(args.joints, args.images, args.out, num_train=args.num_train, overwrite=args.overwrite)
    except (FileExistsError, FileNotFoundError, ValueError) as error:
        raise CallError(str(error)) from error
    for path in written:
        print(f'wrote {path}')
    return 0


if __name__ == '__main__':
    sys.exit(run_command(main))
