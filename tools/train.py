"""Train a config: python tools/train.py CONFIG [--gpus N] [--device cpu] [--work-dir D] [--resume] [--amp] ..."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmpose_lite.apis.cli import add_cfg_options, add_device, add_launcher, launched, run_command, whole_number


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a model, evaluating it on the way.')
    parser.add_argument('config', help='config file, or its name')
    parser.add_argument('--work-dir', help='folder for checkpoints and logs; default work_dirs/CONFIG')
    parser.add_argument(
        '--resume', nargs='?', const='auto', metavar='CKPT', help='go on from CKPT, or from the newest checkpoint in the work dir'
    )
    parser.add_argument(
        '--amp', action='store_true', help='train and evaluate in mixed precision: bfloat16 autocast, on GPUs and CPUs'
    )
    parser.add_argument('--seed', type=whole_number(0), help='of initial weights, order and augmentation')
    add_device(parser)
    add_launcher(parser)
    add_cfg_options(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    if launched(args, __file__, argv):
        return 0
    from mmpose_lite.apis.train import train, use_amp
    from mmpose_lite.engine.config import load_config
    from mmpose_lite.zoo.names import find_config

    cfg = load_config(find_config(args.config), args.cfg_options)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(args.config).stem)
    cfg.launcher = args.launcher
    if args.seed is not None:
        cfg.randomness = {**(cfg.get('randomness') or {}), 'seed': args.seed}
    if args.amp:
        use_amp(cfg)
    if args.resume == 'auto':
        cfg.resume = 'auto'
    elif args.resume:
        cfg.resume, cfg.load_from = True, args.resume
    train(cfg)
    return 0


if __name__ == '__main__':
    sys.exit(run_command(main))
