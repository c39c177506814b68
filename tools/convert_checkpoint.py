"""Convert the weights of mmpose 0.x, torchvision, timm and the authors of networks to the names of this project."""

import argparse
import sys
from collections.abc import Sequence

from mmpose_lite.apis.cli import CallError, choose_device, output_file, run_command


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', metavar='SRC', help='.pth or .safetensors file, web address, or torchvision://NAME')
    parser.add_argument('target', type=output_file, metavar='DST', help='.pth file to write')
    parser.add_argument('--config', help='config file or name whose network the weights are to fit; how they do is printed')
    parser.add_argument('--overwrite', action='store_true', help='replace DST if it exists')
    parser.add_argument('--trust', action='store_true', help='read a file that runs code of its own')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    choose_device('cpu')
    from mmpose_lite.apis.convert_checkpoint import convert_checkpoint

    try:
        report = convert_checkpoint(args.source, args.target, config=args.config, trust=args.trust, overwrite=args.overwrite)
    except (FileExistsError, FileNotFoundError, ValueError) as error:
        raise CallError(str(error)) from error
    for line in report.lines():
        print(line)
    print(f'wrote {args.target}')
    return 0


if __name__ == '__main__':
    sys.exit(run_command(main))
