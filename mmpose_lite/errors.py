"""Errors that explain themselves: command lines print their text without a traceback. Imports nothing heavy."""


class ConfigError(ValueError):
    """A config or a call is wrong; nothing has been run. Command lines exit with 2."""


class RunError(RuntimeError):
    """A run failed, and not because of a fault in the program: its data, a loss that is no number, another process.

    Command lines exit with `exit_code`.
    """

    exit_code = 1


class ImageError(RunError, ValueError):
    """An image file is broken; a run that meets it ends."""


class MetricError(RunError, ValueError):
    """A metric cannot compare what was predicted with the ground truth."""


class ResultError(RunError, ValueError):
    """What was predicted cannot be written: it is not finite."""
