"""Evaluate a checkpoint: python tools/test.py CONFIG CHECKPOINT [--gpus N] [--out metrics.json] ..."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmpose_lite.apis.cli import add_cfg_options, add_device, add_launcher, launched, output_file, run_command


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint on the test split of a config.')
    parser.add_argument('config', help='config file, or its name')
    parser.add_argument('checkpoint', help='.pth file, address, or a name of tools/zoo.py list')
    parser.add_argument('--work-dir', help='folder for logs and pictures; default work_dirs/CONFIG')
    parser.add_argument('--out', type=output_file, help='write the metrics to this JSON file')
    parser.add_argument('--trust', action='store_true', help='read a checkpoint that holds code; only if you trust its source')
    parser.add_argument('--amp', action='store_true', help='predict in bfloat16 autocast, on GPUs and CPUs')
    add_device(parser)
    add_launcher(parser)
    add_cfg_options(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    if launched(args, __file__, argv):
        return 0
    from mmengine.dist import is_main_process

    from mmpose_lite.apis.train import test, use_amp
    from mmpose_lite.engine.config import load_config
    from mmpose_lite.engine.hooks.summary import write_metrics
    from mmpose_lite.zoo.names import find_checkpoint, find_config

    cfg = load_config(find_config(args.config), args.cfg_options)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(args.config).stem)
    cfg.launcher = args.launcher
    if args.trust:
        cfg.trust_checkpoints = True
    if args.amp:
        use_amp(cfg)
    metrics = test(cfg, find_checkpoint(args.checkpoint))
    if args.out and is_main_process():
        write_metrics(Path(args.out), dict(config=args.config, checkpoint=args.checkpoint, metrics=metrics))
    return 0


if __name__ == '__main__':
    sys.exit(run_command(main))
