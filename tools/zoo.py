"""Published weights: which there are, what is known of them, and how to get them."""

import argparse
import sys
from collections.abc import Sequence

from mmpose_lite.apis.cli import choose_device, run_command


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    listing = commands.add_parser('list', help='a table of the names')
    listing.add_argument('words', nargs='*', metavar='WORD', help='only names that contain each of these')
    show = commands.add_parser('show', help='all that is known of some weights')
    show.add_argument('names', nargs='+', metavar='NAME')
    download = commands.add_parser(
        'download', help='put files into the cache folder ($MMPOSE_LITE_CACHE or ~/.cache/mmpose_lite)'
    )
    download.add_argument('names', nargs='+', metavar='NAME')
    download.add_argument('--offline', action='store_true', help='only check that they are there, whole')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    choose_device('cpu')
    from mmpose_lite.apis.zoo import describe, table
    from mmpose_lite.zoo.names import find_entry

    if args.command == 'list':
        print(table(args.words))
        return 0
    found = [find_entry(name) for name in args.names]  # before the first download: a wrong name is told at once
    if args.command == 'show':
        print('\n\n'.join(describe(entry) for entry in found))
    else:
        for entry in found:
            print(entry.fetch(offline=args.offline or None))
    return 0


if __name__ == '__main__':
    sys.exit(run_command(main))
