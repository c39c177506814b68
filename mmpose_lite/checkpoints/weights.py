"""How the weights of a checkpoint enter a model: what matched, what did not, said in one line."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mmpose_lite.checkpoints.layouts import convert_to_fit
from mmpose_lite.structures import KeypointMeta

_EXAMPLES = 3


@dataclass(frozen=True)
class ShapeMismatch:
    """A tensor that both sides have, in different shapes."""

    name: str
    ours: tuple[int, ...]
    theirs: tuple[int, ...]


@dataclass(frozen=True)
class LoadReport:
    """What `load_state` did.

    Attributes:
        parts: top-level part of the model ('backbone', 'head') -> (tensors loaded, tensors it has).
        missing: names that the model has and the checkpoint has not.
        unexpected: names that the checkpoint has and the model has not.
        mismatched: tensors whose shapes differ; the model keeps its own initial values there.
        num_keypoints: K of the model, where its metadata says so.
        hint: what would make more of it match, or ''.
    """

    parts: dict[str, tuple[int, int]]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[ShapeMismatch, ...] = ()
    num_keypoints: int | None = None
    hint: str = ''

    @property
    def num_loaded(self) -> int:
        return sum(loaded for loaded, _ in self.parts.values())

    @property
    def num_total(self) -> int:
        return sum(total for _, total in self.parts.values())

    @property
    def complete(self) -> bool:
        """Whether the model and the checkpoint fit each other exactly."""
        return not (self.missing or self.unexpected or self.mismatched)

    def line(self) -> str:
        """Return e.g. 'backbone 318/318, head 12/14: 14 != 17 keypoints, final_layer re-initialised'; ours stands first."""
        pieces = []
        for part, (loaded, total) in self.parts.items():
            notes = self._mismatch_notes(part)
            missing = [name for name in self.missing if _part(name) == part]
            if missing:
                notes.append(f'{len(missing)} missing ({_some(missing)})')
            pieces.append(f'{part} {loaded}/{total}' + (': ' + ', '.join(notes) if notes else ''))
        if self.unexpected:
            pieces.append(f'{len(self.unexpected)} unexpected ({_some(self.unexpected)})')
        return ', '.join(pieces) + (f'; {self.hint}' if self.hint else '')

    def _mismatch_notes(self, part: str) -> list[str]:
        causes: dict[str, str] = {}  # module -> why its first tensor does not fit
        for mismatch in self.mismatched:
            if _part(mismatch.name) == part:
                module = mismatch.name.removeprefix(f'{part}.').rpartition('.')[0] or mismatch.name
                causes.setdefault(module, self._cause(mismatch))
        modules: dict[str, list[str]] = {}
        for module, cause in causes.items():
            modules.setdefault(cause, []).append(module)
        return [f'{cause}, {_some(names)} re-initialised' for cause, names in modules.items()]

    def _cause(self, mismatch: ShapeMismatch) -> str:
        ours, theirs = mismatch.ours, mismatch.theirs
        is_channels = ours and theirs and ours[1:] == theirs[1:] and ours[0] == self.num_keypoints
        if is_channels and 'head' in _part(mismatch.name):
            return f'{ours[0]} != {theirs[0]} keypoints'
        return f'shape {list(ours)} != {list(theirs)}'


def extract_state_dict(checkpoint: Mapping[str, Any], *, revise_keys: Sequence[tuple[str, str]] = ()) -> dict[str, Tensor]:
    """Return name -> tensor of the model inside a checkpoint.

    The model stands under 'state_dict' (OpenMMLab), 'model' (torchvision, DETR), or is the checkpoint itself. What wrappers put
    before names goes: `module.` (DistributedDataParallel) and `_orig_mod.` (torch.compile). Values that are no tensors are left
    out. `ema_state_dict` is not read, on purpose: mmengine's EMAHook swaps before saving, so that 'state_dict' already holds the
    averaged weights, and 'ema_state_dict' the raw ones, which only `--resume` needs.

    Args:
        checkpoint: what `load_checkpoint_file` returned.
        revise_keys: (regular expression, replacement) pairs, applied in turn to every name.

    Raises:
        ValueError: there are no tensors in it, or two names become one.
    """
    content = checkpoint
    for key in ('state_dict', 'model'):
        if isinstance(checkpoint, Mapping) and isinstance(checkpoint.get(key), Mapping):
            content = checkpoint[key]
            break
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        found = f'the keys {list(content)[:10]}' if isinstance(content, Mapping) else f'a {type(content).__name__}'
        raise ValueError(
            f'extract_state_dict: `checkpoint` must hold tensors by name, under `state_dict` or `model`, got {found}.'
        )
    rules = [(r'^((module|_orig_mod)\.)+', ''), (r'\._orig_mod\.', '.'), *revise_keys]
    state_dict: dict[str, Tensor] = {}
    for old, value in tensors.items():
        new = old
        for pattern, replacement in rules:
            new = re.sub(pattern, replacement, new)
        if new in state_dict:
            raise ValueError(f'extract_state_dict: two tensors of the checkpoint are called `{new}` (one was `{old}`).')
        state_dict[new] = value
    return state_dict


def load_state(model: nn.Module, state_dict: Mapping[str, Tensor], *, min_match: float = 0.5, strict: bool = False) -> LoadReport:
    """Load what fits by name and shape, and say what did not.

    `data_preprocessor.*` is ignored (mean and std belong to the config), and so is a missing `num_batches_tracked`.

    Args:
        model: the network itself, not its DistributedDataParallel wrapper. The number of keypoints is read from `model.meta`.
        state_dict: name -> tensor, see `extract_state_dict`.
        min_match: least share of the model's tensors that must be loaded, in [0, 1].
        strict: whether every name and shape must fit.

    Raises:
        ValueError: less than `min_match` fits, or, with `strict`, not everything; the model is unchanged then.
    """
    if not 0 <= min_match <= 1:
        raise ValueError(f'load_state: `min_match` must be in [0, 1], got {min_match}.')
    state_dict = _weights_only(state_dict)
    report = _compare(model, state_dict)
    if report.num_loaded < min_match * report.num_total:
        raise ValueError(
            f'load_state: only {report.num_loaded} of {report.num_total} tensors of the model are in the checkpoint, fewer than '
            f'`min_match` = {min_match:g} demands; nothing was loaded. {report.line()}'
        )
    if strict and not report.complete:
        raise ValueError(f'load_state: `strict` demands that everything fits; nothing was loaded. {report.line()}')
    left_out = {mismatch.name for mismatch in report.mismatched}
    model.load_state_dict({name: value for name, value in state_dict.items() if name not in left_out}, strict=False)
    return report


def _compare(model: nn.Module, theirs: Mapping[str, Tensor]) -> LoadReport:
    ours = {
        name: value
        for name, value in _weights_only(model.state_dict()).items()
        if name in theirs or not name.endswith('num_batches_tracked')
    }
    missing = tuple(name for name in ours if name not in theirs)
    mismatched = tuple(
        ShapeMismatch(name, tuple(ours[name].shape), tuple(theirs[name].shape))
        for name in ours
        if name in theirs and ours[name].shape != theirs[name].shape
    )
    not_loaded = {*missing, *(mismatch.name for mismatch in mismatched)}
    parts: dict[str, tuple[int, int]] = {}
    for name in ours:
        loaded, total = parts.get(_part(name), (0, 0))
        parts[_part(name)] = (loaded + (name not in not_loaded), total + 1)
    meta = getattr(model, 'meta', None)
    return LoadReport(
        parts=parts,
        missing=missing,
        unexpected=tuple(name for name in theirs if name not in ours),
        mismatched=mismatched,
        num_keypoints=meta.num_keypoints if isinstance(meta, KeypointMeta) else None,
        hint=_hint(set(ours), theirs) if missing else '',
    )


def _hint(ours: set[str], state_dict: Mapping[str, Tensor]) -> str:
    """Return how to make more names match, if another layout or one prefix too many or too few explains it."""
    layout = convert_to_fit(state_dict, ours).layout
    if layout:
        return f'the names are those of {layout}: convert the file with `python tools/convert_checkpoint.py SRC DST`'
    theirs = set(state_dict)
    matched = len(ours & theirs)
    trials = []
    for prefix in sorted({_part(name) + '.' for name in theirs}):
        count = len(ours & {name.removeprefix(prefix) for name in theirs})
        trials.append((count, f'without the prefix `{prefix}`: load_revise_keys=[({"^" + re.escape(prefix)!r}, {""!r})]'))
    for prefix in sorted({_part(name) + '.' for name in ours}):
        count = len(ours & {prefix + name for name in theirs})
        trials.append((count, f'with the prefix `{prefix}`: load_revise_keys=[({"^"!r}, {prefix!r})]'))
    count, text = max(trials, default=(0, ''), key=lambda trial: trial[0])
    return f'{count} names instead of {matched} match {text}' if count > matched else ''


def _weights_only(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    return {k: v for k, v in state_dict.items() if isinstance(v, Tensor) and not k.startswith('data_preprocessor.')}


def _part(name: str) -> str:
    return name.partition('.')[0]


def _some(names: Sequence[str]) -> str:
    more = len(names) - _EXAMPLES
    return ', '.join(names[:_EXAMPLES]) + (f' and {more} more' if more > 0 else '')
