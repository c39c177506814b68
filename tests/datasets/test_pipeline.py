"""Transforms one after the other."""

import re
from typing import Any

import pytest

from mmpose_lite.datasets.pipeline import Pipeline
from mmpose_lite.errors import ConfigError


def double(results: dict[str, Any]) -> dict[str, Any]:
    return {**results, 'value': 2 * results['value']}


def leave_out(results: dict[str, Any]) -> None:
    return None


def look_up(results: dict[str, Any]) -> Any:
    return {'other': 1}['value']


def test_steps_follow_one_another() -> None:
    assert Pipeline([double, double])(dict(value=3)) == dict(value=12)
    assert Pipeline([double, leave_out, double])(dict(value=3)) is None


def test_what_a_step_lacks_is_told() -> None:
    pipeline = Pipeline([dict(type='GetBBoxCenterScale'), dict(type='TopdownAffine', input_size=(4, 4))])
    said = 'TopdownAffine: needs `bbox_scale`, which neither the dataset nor a step before it gives; the pipeline is '
    with pytest.raises(ConfigError, match=re.escape(said + 'GetBBoxCenterScale, TopdownAffine.')):
        pipeline.run_step(pipeline.transforms[1], {})


def test_a_key_error_of_a_steps_own_stays_as_it_is() -> None:
    with pytest.raises(KeyError, match='value'):
        Pipeline([look_up])(dict(value=3))
