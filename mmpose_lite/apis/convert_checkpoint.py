"""Checkpoints of other projects as files of this one: weights alone, under our names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpose_lite.checkpoints.layouts import Conversion, convert_layout
from mmpose_lite.checkpoints.reading import load_checkpoint_file
from mmpose_lite.checkpoints.weights import LoadReport, extract_state_dict, load_state
from mmpose_lite.checkpoints.writing import save_checkpoint_atomic
from mmpose_lite.engine.config import ConfigError, load_config
from mmpose_lite.registry import MODELS
from mmpose_lite.version import __version__
from mmpose_lite.zoo.names import find_config

OUR_PARTS = ('backbone.', 'neck.', 'head.')


@dataclass(frozen=True)
class ConversionReport:
    """What `convert_checkpoint` did.

    Attributes:
        conversion: the weights, what was renamed and what was dropped.
        left_out: what the file held beside weights, such as 'optimizer'.
        fit: how the weights fit the model of a config, if one was given.
    """

    conversion: Conversion
    left_out: tuple[str, ...]
    fit: LoadReport | None

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        layout = self.conversion.layout
        lines = [f'names are those of {layout}' if layout else 'names are ours already', *self.conversion.lines()]
        if self.left_out:
            lines.append(f'left out: {", ".join(self.left_out)}')
        if self.fit is not None:
            lines.append(self.fit.line())
        return lines


def convert_checkpoint(
    source: str | Path,
    target: str | Path,
    *,
    config: str | Path | None = None,
    trust: bool = False,
    overwrite: bool = False,
) -> ConversionReport:
    """Write the weights of a checkpoint under our names.

    Args:
        source: file, address or torchvision://NAME; see `load_checkpoint_file`. Its layout is known by its names.
        target: file to write: `state_dict` and, under `meta`, where it came from.
        config: a config, or its name, whose model the weights must fit, at least in part.
        trust: read a file that asks for unknown classes, by running what it says.
        overwrite: replace `target` if there is such a file.

    Raises:
        FileExistsError: `target` exists and `overwrite` is off.
        FileNotFoundError: there is no source.
        UntrustedCheckpointError: the source is more than weights, and `trust` is off.
        ValueError: the source is no checkpoint, its names are of no known layout, nothing of it fits the config, or the target's
            ending is that of another format.
    """
    target = Path(target)
    if target.suffix == '.safetensors':  # by which readers tell the format
        raise ValueError(f'convert_checkpoint: `target` must end in .pth, the format that is written, got {target.name}.')
    if target.exists() and not overwrite:
        raise FileExistsError(f'convert_checkpoint: {target} exists; use another name, or `overwrite`.')
    content = load_checkpoint_file(source, trust=trust)
    conversion = convert_layout(extract_state_dict(content))
    names = list(conversion.state_dict)
    if not any(name.startswith(OUR_PARTS) for name in names):
        raise ValueError(
            f'convert_checkpoint: the names in {source} are of no layout that is known here: {", ".join(names[:4])} ...'
        )
    fit = None if config is None else _fit(conversion, config)
    meta = dict(converted_from=str(source), layout=conversion.layout, mmpose_lite_version=__version__)
    save_checkpoint_atomic(dict(meta=meta, state_dict=conversion.state_dict), target)
    return ConversionReport(conversion, _beside_weights(content), fit)


def _fit(conversion: Conversion, config: str | Path) -> LoadReport:
    cfg = load_config(find_config(config))
    if 'model' not in cfg:
        raise ConfigError(f'config {cfg.filename!r} has no key `model`.')
    report = load_state(MODELS.build(cfg.model), conversion.state_dict, min_match=0.0)
    if not report.num_loaded:
        raise ValueError(f'convert_checkpoint: nothing fits the model of {config}. {report.line()}')
    return report


def _beside_weights(content: Any) -> tuple[str, ...]:
    """Return the names of what stands beside the state dict in a checkpoint."""
    for key in ('state_dict', 'model'):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            return tuple(name for name in content if name != key)
    return ()
