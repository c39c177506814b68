"""Base classes of parts and of whole networks."""

import logging

from mmengine.logging import MMLogger
from mmengine.model import BaseModel as MMEngineBaseModel
from mmengine.model import BaseModule as MMEngineBaseModule


class BaseModule(MMEngineBaseModule):
    """mmengine's base of parts with initial weights; `init_weights` tells what it did to each parameter at level DEBUG only."""

    def _dump_init_info(self) -> None:
        # mmengine 0.10.7 calls it at the end of `init_weights`, and prints four lines for each of hundreds of parameters. Its
        # loggers have no level of their own, their handlers have.
        if any(handler.level <= logging.DEBUG for handler in MMLogger.get_current_instance().handlers):
            super()._dump_init_info()


class BaseModel(BaseModule, MMEngineBaseModel):
    """mmengine's base of networks, as quiet as `BaseModule`."""
