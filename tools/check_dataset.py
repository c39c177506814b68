"""Count what the data of a config holds, and find its defects. Exit code 1 when there are any."""

import argparse
import sys
from collections.abc import Sequence

from mmpose_lite.apis.cli import add_cfg_options, output_file, run_command, whole_number


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, or its name')
    parser.add_argument('--split', choices=('train', 'val', 'test', 'all'), default='all', help='which data of the config (all)')
    parser.add_argument('--fast', action='store_true', help='do not decode the images; read the headers of some')
    parser.add_argument('--allow-warnings', action='store_true', help='exit with 0 when there are only warnings')
    parser.add_argument('--max-ids', type=whole_number(1), default=10, help='how many ids a finding lists (10)')
    parser.add_argument('--json', type=output_file, metavar='OUT', help='also write the reports to this file')
    add_cfg_options(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    import json
    from pathlib import Path

    from mmpose_lite.apis.check import check_config
    from mmpose_lite.engine.config import ConfigError, load_config
    from mmpose_lite.zoo.names import find_config

    cfg = load_config(find_config(args.config), args.cfg_options)
    splits = None if args.split == 'all' else [args.split]
    try:
        reports = check_config(cfg, splits, 'fast' if args.fast else 'full', max_ids=args.max_ids)
    except ConfigError:
        raise
    except ValueError as error:  # a file so broken that there is nothing to report on
        print(f'error: {error}', file=sys.stderr)
        return 1
    if not reports:
        raise ConfigError(
            f'{args.config}: none of its datasets reads a COCO-style file or masks of classes, so there is nothing to check.'
        )
    for name, report in reports.items():
        print(f'\n{name}\n{report.table()}')
    if args.json:
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        Path(args.json).write_text(json.dumps({name: report.to_dict() for name, report in reports.items()}, indent=2))
    errors = sum(len(report.errors) for report in reports.values())
    warnings = sum(len(report.warnings) for report in reports.values())
    print(f'\nerrors: {errors}, warnings: {warnings}')
    return int(errors > 0 or (warnings > 0 and not args.allow_warnings))


if __name__ == '__main__':
    sys.exit(run_command(main))
