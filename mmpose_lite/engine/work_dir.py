"""The folder of a run, and which checkpoint in it to go on from."""

import os
from collections.abc import Mapping
from pathlib import Path

from mmpose_lite.checkpoints.reading import load_checkpoint_file
from mmpose_lite.errors import ConfigError


def make_work_dir(folder: str | Path) -> None:
    """Make the folder of a run, before anything has taken time.

    Raises:
        ConfigError: it cannot be made, or not be written into.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        reason = '' if os.access(folder, os.W_OK | os.X_OK) else 'it may not be written'
    except OSError as error:
        reason = f'{error.strerror}'
    if reason:
        raise ConfigError(f'the work dir {str(folder)!r} cannot be used: {reason}. Choose another one with --work-dir.')


def latest_checkpoint(work_dir: Path) -> Path | None:
    """Return the checkpoint to resume from: the one `last_checkpoint` names, or else the newest epoch or iteration."""
    note = work_dir / 'last_checkpoint'
    if note.is_file():
        named = Path(note.read_text(errors='replace').strip())
        for candidate in (named, work_dir / named.name):  # the work dir may have been moved
            if candidate.is_file():
                return candidate
    numbered = [
        p for p in work_dir.glob('*.pth') if p.stem.split('_')[0] in ('epoch', 'iter') and p.stem.split('_')[-1].isdigit()
    ]
    return max(numbered, key=lambda p: int(p.stem.split('_')[-1]), default=None)


def resume_seed(checkpoint: str | Path, *, trust: bool = False) -> int | None:
    """Return the seed of the run that wrote a checkpoint; order and augmentation of the data follow from it."""
    content = load_checkpoint_file(checkpoint, trust=trust)
    return content.get('meta', {}).get('seed') if isinstance(content, Mapping) else None
