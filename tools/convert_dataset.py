"""Convert the annotations of a data set to COCO-style keypoint files."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmpose_lite.apis.cli import CallError, output_folder, run_command, whole_number


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='dataset', required=True, metavar='DATASET')

    lsp = commands.add_parser('lsp', help='Leeds Sports Pose, also the extended set (LSPET)')
    lsp.add_argument('--joints', required=True, help='joints.mat')
    lsp.add_argument('--images', required=True, help='folder of im0001.jpg ... (LSP) or im00001.jpg ... (LSPET)')
    lsp.add_argument(
        '--out', type=output_folder, required=True, help='folder for person_keypoints_train.json and person_keypoints_val.json'
    )
    lsp.add_argument('--num-train', type=whole_number(1), help='the first so many people are for training (default: four fifths)')

    mpii = commands.add_parser('mpii', help='MPII Human Pose, from its .mat or from the JSON files of HRNet and mmpose')
    mpii.add_argument('--annotations', required=True, help='mpii_human_pose_v1_u12_1.mat, or mpii_train.json')
    mpii.add_argument('--images', required=True, help='folder of the images')
    mpii.add_argument(
        '--out', type=output_folder, required=True, help='folder for person_keypoints_train.json and person_keypoints_val.json'
    )
    mpii.add_argument('--val', help='mpii_val.json: the validation split (of a .mat: the images of it)')
    mpii.add_argument('--head-boxes', help='mpii_gt_val.mat: the head boxes of mpii_val.json, for PCKh; a .mat has its own')

    rhd = commands.add_parser('rhd', help='Rendered Handpose Dataset')
    rhd.add_argument('--root', required=True, help='RHD_published_v2, with the folders training and evaluation')
    rhd.add_argument('--out', type=output_folder, required=True, help='folder for rhd_train.json and rhd_test.json')

    for name, title, file in (
        ('wholebody', 'COCO-WholeBody: joins body, feet, face and hands to 133 keypoints', 'coco_wholebody_train_v1.0.json'),
        ('halpe', 'Halpe-FullBody: keeps the 26 keypoints of body and feet', 'halpe_train_v1.json'),
    ):
        parts = commands.add_parser(name, help=title)
        parts.add_argument('--annotations', required=True, nargs='+', help=f'{file} and others')
        parts.add_argument('--out', type=output_folder, required=True, help='folder for the files, which keep their names')

    for command in commands.choices.values():
        command.add_argument('--overwrite', action='store_true', help='replace files of these names in --out')
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> list[Path]:
    from mmpose_lite.datasets import converters

    out, overwrite = args.out, args.overwrite
    match args.dataset:
        case 'lsp':
            return converters.convert_lsp(args.joints, args.images, out, num_train=args.num_train, overwrite=overwrite)
        case 'mpii':
            heads = args.head_boxes
            return converters.convert_mpii(
                args.annotations, args.images, out, val=args.val, head_boxes=heads, overwrite=overwrite
            )
        case 'rhd':
            return converters.convert_rhd(args.root, out, overwrite=overwrite)
        case 'wholebody':
            return [converters.convert_wholebody(file, out, overwrite=overwrite) for file in args.annotations]
        case _:  # halpe: argparse lets nothing else through
            return [converters.convert_halpe(file, out, overwrite=overwrite) for file in args.annotations]


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        written = convert(args)
    except (FileExistsError, FileNotFoundError, ValueError) as error:
        raise CallError(str(error)) from error
    for path in written:
        print(f'wrote {path}')
    return 0


if __name__ == '__main__':
    sys.exit(run_command(main))
