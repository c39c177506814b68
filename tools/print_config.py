"""Print a config as it will be used: python tools/print_config.py CONFIG [--cfg-options k=v ...]"""

import argparse
import sys
from collections.abc import Sequence

from mmpose_lite.apis.cli import add_cfg_options, run_command


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Print a config with its bases, options and inherited values filled in.')
    parser.add_argument('config', help='config file, or its name')
    add_cfg_options(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from mmpose_lite.engine.config import load_config
    from mmpose_lite.zoo.names import find_config

    print(load_config(find_config(args.config), args.cfg_options).pretty_text)
    return 0


if __name__ == '__main__':
    sys.exit(run_command(main))
