"""What is kept of parameter schedulers in a checkpoint, and how they go on from it.

mmengine offers `state_dict`, `load_state_dict` and `step`. Its state also holds what the config sets, and `load_state_dict` takes
all of it over, so a longer run would end where the first one was to end. Only the position and the last values are put back here.
The names of the state's entries are mmengine's own; `tests/engine/test_schedulers.py` goes through all its schedulers.
"""

import inspect
from collections.abc import Mapping
from typing import Any

_DERIVED = ('_schedule_phases', 'cumulative_periods')  # entries that constructors make of their arguments


def scheduler_state(scheduler: Any) -> dict[str, Any]:
    """Return a scheduler's state without its functions (OneCycleLR's annealing), which its constructor sets anyway."""
    return {key: value for key, value in scheduler.state_dict().items() if not inspect.isroutine(value)}


def resume_scheduler(scheduler: Any, state: Mapping[str, Any]) -> None:
    """Take over how far a scheduler has come; what its config sets stays, since a longer run may have another `end`.

    Args:
        scheduler: as its config builds it, on the resumed optimizer.
        state: of `scheduler_state`, when the checkpoint was written.
    """
    fixed = {name for cls in type(scheduler).__mro__ for name in inspect.signature(cls.__init__).parameters}
    fixed = (fixed | {*_DERIVED}) - {'last_step'}
    moving = {key: value for key, value in state.items() if key not in fixed}
    position = moving['_global_step']
    # A scheduler that had come to its `end` did not step any more; with a later end it makes up for that step here.
    behind = scheduler.begin <= position < scheduler.end and moving['last_step'] < position - scheduler.begin
    scheduler.load_state_dict({**moving, '_global_step': position - behind})
    if behind:
        scheduler.step()
