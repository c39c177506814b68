"""What the command lines share. Imports nothing heavy, so that `--help` and a wrong call answer at once."""

import argparse
import ast
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


class OptionsAction(argparse.Action):
    """Collect `key.sub=value` pairs into a dict; see `parse_value`."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        options = dict(getattr(namespace, self.dest) or {})
        for pair in values:
            key, separator, text = pair.partition('=')
            if not separator or not key:
                parser.error(f'{option_string}: expected KEY=VALUE, got {pair!r}')
            options[key] = parse_value(text)
        setattr(namespace, self.dest, options)


class _DictCalls(ast.NodeTransformer):
    """Turns `dict(key=value)`, as configs write it, into a literal."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        names = [keyword.arg for keyword in node.keywords]
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict' or node.args or None in names:
            return node
        return ast.Dict([ast.Constant(name) for name in names], [keyword.value for keyword in node.keywords])


def parse_value(text: str) -> Any:
    """Return the Python literal in `text`, `dict(key=value)` included; a list for a,b,c; or the text itself."""
    try:
        return ast.literal_eval(_DictCalls().visit(ast.parse(text.strip(), mode='eval')))
    except (ValueError, SyntaxError, TypeError):
        pass
    if text.lower() in ('true', 'false', 'none'):
        return {'true': True, 'false': False, 'none': None}[text.lower()]
    if ',' in text and not set(text) & set('[](){}'):
        return [parse_value(part) for part in text.split(',')]
    return text


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add `--cfg-options k=v ...`."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        default={},
        metavar='K=V',
        help='change values of the config, for example data_root=/data/coco train_cfg.max_epochs=5',
    )


def whole_number(least: int) -> Callable[[str], int]:
    """Return what makes a number of an argument, or has argparse tell that it must be `least` or more."""

    def parse(text: str) -> int:
        if not re.fullmatch(r'[+-]?\d+', text) or int(text) < least:
            raise argparse.ArgumentTypeError(f'must be a whole number, {least} or more, got {text}')
        return int(text)

    return parse


def output_folder(text: str) -> str:
    """Return an argument that names a folder to write into, or have argparse tell why that cannot be; nothing is made yet."""
    folder = Path(text)
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise argparse.ArgumentTypeError(f'{str(there)!r} is a file, no folder can be made there')
    if not os.access(there, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f'the folder {str(there)!r} may not be written')
    return text


def output_file(text: str) -> str:
    """Return an argument that names a file to write; as `output_folder`."""
    if Path(text).is_dir():
        raise argparse.ArgumentTypeError(f'{text!r} is a folder, give it the name of a file in it')
    output_folder(str(Path(text).parent))
    return text


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add `--device`."""
    parser.add_argument('--device', choices=('cuda', 'cpu'), help='default: the GPU where there is one')


def choose_device(device: str | None) -> str:
    """Return 'cuda' or 'cpu'; call it before anything imports mmengine, which looks for GPUs once, at its import.

    Raises:
        CallError: 'cuda' was asked for and there is none.
    """
    if device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = ''
        return 'cpu'
    import torch

    available = torch.cuda.is_available()
    if device == 'cuda' and not available:
        raise CallError('--device cuda: torch sees no GPU here; use --device cpu.')
    return 'cuda' if available else 'cpu'


class CallError(Exception):
    """The command was called in a wrong way: exit code 2."""


def run_command(main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None = None) -> int:
    """Run a command and turn its exceptions into exit codes: 2 for a wrong call or config, 1 for a failed run.

    An expected mistake is told in a line or two on stderr. Anything else keeps its traceback.
    """
    try:
        code = main(argv) or 0
        _end_process(code)
        return code
    except CallError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 1
    except Exception as error:
        from mmpose_lite.errors import ConfigError, RunError
        from mmpose_lite.registry import PathError

        expected = isinstance(error, ConfigError | PathError | RunError | OSError)  # OSError: files, disks, networks
        expected = expected or _is_out_of_memory(error)
        shared = getattr(error, 'in_every_process', False)
        if not expected and not shared:
            raise
        if not shared or sys.modules['mmpose_lite.engine.launch'].tells_it(error):
            if expected:
                print(f'error: {_text(error)}', file=sys.stderr, flush=True)
            else:
                traceback.print_exception(error)
        code = 2 if isinstance(error, ConfigError | PathError) else getattr(error, 'exit_code', 1)
        if shared:
            _end_process(code)  # first all are told, then all end
        return code


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether a GPU had too little memory; CPUs end the process instead."""
    return 'torch' in sys.modules and isinstance(error, sys.modules['torch'].cuda.OutOfMemoryError)


def _text(error: Exception) -> str:
    """Return the message; of an error in a data worker without the traceback that torch writes into it."""
    text = str(error)
    if _is_out_of_memory(error):
        return f'{text}\nA smaller batch (`train_dataloader.batch_size`, --batch-size), smaller inputs or --amp take less.'
    return text.rpartition(f'{type(error).__name__}: ')[2].rstrip() if text.startswith('Caught ') else text


def _end_process(code: int) -> None:
    """End a process of several; return in one that is alone."""
    if 'mmpose_lite.engine.launch' in sys.modules:
        sys.modules['mmpose_lite.engine.launch'].end_process(code)


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add `--gpus` and `--launcher`."""
    parser.add_argument('--gpus', type=whole_number(1), default=1, metavar='N', help='processes on this machine, one per GPU')
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='who started this process: torchrun (pytorch), Slurm or MPI; --gpus needs none',
    )


def launched(args: argparse.Namespace, script: str, argv: Sequence[str] | None) -> bool:
    """Start the processes that `--gpus` asks for and wait for them; False in a process that has to do the work itself.

    A process that was started by a launcher joins its group here.

    Raises:
        CallError: more GPUs are asked for than there are, or the environment does not fit `--launcher`.
    """
    device = choose_device(args.device)
    if args.launcher == 'none' and args.gpus > 1:
        if device == 'cpu' and args.device != 'cpu':
            raise CallError(f'--gpus {args.gpus}: torch sees no GPU here; add --device cpu to run that many on the CPU.')
        if device == 'cuda':
            import torch

            there = torch.cuda.device_count()
            if args.gpus > there:
                raise CallError(f'--gpus {args.gpus}: this machine has {there}. Ask for fewer, or use --device cpu.')
        from mmpose_lite.engine.launch import launch_workers

        launch_workers([script, *(sys.argv[1:] if argv is None else argv), '--launcher', 'pytorch'], args.gpus)
        return True
    if args.launcher != 'none':
        from mmpose_lite.engine.launch import init_distributed

        try:
            init_distributed(args.launcher, device)
        except RuntimeError as error:
            raise CallError(str(error)) from error
    return False
