"""What a resumed run takes over from its checkpoint, and what is another now than it was."""

from collections.abc import Mapping
from typing import Any

from mmpose_lite.errors import ConfigError

_OPTIMIZER_OPTIONS = ('initial_lr', 'weight_decay', 'momentum', 'betas')


def changes(meta: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each thing that makes a resumed run another than the one that wrote the checkpoint.

    Args:
        meta: of the checkpoint; what it does not tell has not changed.
        now: world_size, batch_size and seed of the resumed run.
    """
    sentences = dict(
        world_size='the run had {} processes and has {} now; with the batch size of one process unchanged, the total batch size '
        'and the number of iterations of an epoch change.',
        batch_size='the batch size was {} and is {} now; the number of iterations of an epoch changes, and with it all that '
        'counts iterations.',
        seed='the seed was {} and is {} now; order and augmentation of the data are others.',
    )
    return [text.format(meta[key], now[key]) for key, text in sentences.items() if meta.get(key, now[key]) != now[key]]


def restore_optimizer(optim_wrapper: Any, state: Mapping[str, Any]) -> list[str]:
    """Take over the optimizer's state, its options included; return a sentence for each of the config's that is not used.

    Raises:
        ConfigError: the state is that of another optimizer, or of other parameters.
    """
    configured = [dict(group) for group in optim_wrapper.param_groups]
    try:
        optim_wrapper.load_state_dict(state)
    except ValueError as error:  # another number of parameters or groups
        raise ConfigError(f'--resume: the optimizer of the checkpoint does not fit that of the config: {error}') from error
    resumed = optim_wrapper.param_groups
    lacking = [name for name in optim_wrapper.optimizer.defaults if any(name not in group for group in resumed)]
    if lacking:
        raise ConfigError(f'--resume: the checkpoint is of another optimizer than the config, one without {", ".join(lacking)}.')
    notes = []
    for name in _OPTIMIZER_OPTIONS:
        pairs = [(ours[name], theirs[name]) for ours, theirs in zip(configured, resumed) if name in ours and name in theirs]
        notes += [
            f'goes on with {name.removeprefix("initial_")}={theirs} of the checkpoint, not {ours} of the config; to begin anew '
            'from its weights: --cfg-options load_from=FILE.'
            for ours, theirs in [pair for pair in pairs if pair[0] != pair[1]][:1]
        ]
    return notes
