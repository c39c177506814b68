"""What docs/training.md writes can be built."""

import ast
import re
from typing import Any

import pytest

from mmpose_lite.models.estimators import TopdownPoseEstimator
from mmpose_lite.registry import CODECS, LOSSES, METRICS, TRANSFORMS
from tests.conftest import REPO

PAGE = (REPO / 'docs/training.md').read_text()
CODE = [code for code in re.findall(r'`([^`]+)`', PAGE) if '...' not in code]
CODEC = dict(type='HeatmapCodec', input_size=(192, 256), heatmap_size=(48, 64))


def keywords(call: str) -> dict[str, Any]:
    """Return the arguments of a call of plain values, however deep."""
    return {word.arg: value_of(word.value) for word in ast.parse(call, mode='eval').body.keywords}


def value_of(node: ast.expr) -> Any:
    return keywords(ast.unparse(node)) if isinstance(node, ast.Call) else ast.literal_eval(node)


@pytest.mark.parametrize('code', [code for code in CODE if code.startswith('dict(type=')])
def test_steps(code: str) -> None:
    assert callable(TRANSFORMS.build(keywords(code)))


@pytest.mark.parametrize('code', [code for code in CODE if code.startswith('loss=dict')])
def test_losses(code: str) -> None:
    LOSSES.build(keywords(f'dict({code})')['loss'])


@pytest.mark.parametrize('code', [code for code in CODE if code.startswith(('variant=', 'sigma='))])
def test_codecs(code: str) -> None:
    CODECS.build({**CODEC, **keywords(f'dict({code})')})


@pytest.mark.parametrize('code', [code for code in CODE if code.startswith('test_cfg=')])
def test_options_of_the_test(code: str) -> None:
    assert set(keywords(f'dict({code})')['test_cfg']) <= set(TopdownPoseEstimator.test_options)


@pytest.mark.parametrize('code', [code for code in CODE if code.startswith('CocoMetric(')])
def test_metrics(code: str) -> None:
    METRICS.build(dict(type='CocoMetric', ann_file='', format_only=True, outfile_prefix='x', **keywords(code)))


def test_the_page_is_read() -> None:
    assert len([code for code in CODE if code.startswith(('dict(type=', 'loss=', 'sigma=', 'variant=', 'test_cfg='))]) > 12
