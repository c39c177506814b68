"""Base classes of parts and of whole networks."""

import logging
from typing import Any

from mmengine.logging import MMLogger
from mmengine.model import BaseModel as MMEngineBaseModel
from mmengine.model import BaseModule as MMEngineBaseModule

from mmpose_lite.errors import ConfigError
from mmpose_lite.models.misfit import explain_lone_value, explain_misfit


class BaseModule(MMEngineBaseModule):
    """mmengine's base of parts with initial weights; `init_weights` tells what it did to each parameter at level DEBUG only."""

    def _dump_init_info(self) -> None:
        # mmengine 0.10.7 calls it at the end of `init_weights`, and prints four lines for each of hundreds of parameters. Its
        # loggers have no level of their own, their handlers have.
        if any(handler.level <= logging.DEBUG for handler in MMLogger.get_current_instance().handlers):
            super()._dump_init_info()


class BaseModel(BaseModule, MMEngineBaseModel):
    """mmengine's base of networks, as quiet as `BaseModule`; it names the key of the config where parts do not fit together."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the network; every step of training, evaluation and inference comes through here.

        Raises:
            ConfigError: a part was built for other channels than the one before gives, or a norm cannot learn of a single value.
        """
        try:
            return super().__call__(*args, **kwargs)
        except RuntimeError as error:
            misfit = explain_misfit(self, error.__traceback__)
            if misfit:
                raise ConfigError(misfit) from error
            raise
        except ValueError as error:
            lone = explain_lone_value(self, error)
            if lone:
                raise ConfigError(lone) from error
            raise
