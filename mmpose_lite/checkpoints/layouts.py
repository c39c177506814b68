"""The same networks under other names: mmpose 0.x, mmdet 1.x, torchvision, timm, the papers' own code; all become ours."""

# A rule is a pattern at the start of a name and what takes its place; the first that matches is the only one applied.
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor


class Drop(NamedTuple):
    """What takes the place of a name that has no counterpart here."""

    reason: str


StateDict = Mapping[str, Tensor]
Rules = Sequence[tuple[str, str | Drop]]

CLASSIFIER = Drop('the classifier')
CLASS_TOKEN = Drop('the class token (its position is dropped too)')


@dataclass(frozen=True)
class Conversion:
    """A state dict under our names, and what was done to it.

    Attributes:
        layout: whose names it had; '' where no layout is known by them, then nothing is changed.
        state_dict: the tensors under our names.
        renamed: old name -> ours, of names that changed.
        dropped: old name -> why there is no such tensor here.
    """

    layout: str
    state_dict: dict[str, Tensor]
    renamed: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """What a log line that speaks of the weights adds: '; names converted from those of mmpose 0.x', or ''."""
        return f'; names converted from those of {self.layout}' if self.layout else ''

    def lines(self) -> list[str]:
        """Return what was renamed and dropped, alike ones together: '12 x blocks.N.norm1 -> backbone.layers.N.ln1'."""
        renamed = Counter(_without_common_end(_alike(old), _alike(new)) for old, new in self.renamed.items())
        dropped = Counter((_alike(old).partition('.')[0], reason) for old, reason in self.dropped.items())
        lines = [
            f'renamed {count} x {old} -> {new}' if old else f'put {new}. before {count} names'
            for (old, new), count in renamed.items()
        ]
        return lines + [f'dropped {count} x {start}: {reason}' for (start, reason), count in dropped.items()]


def _alike(name: str) -> str:
    return re.sub(r'(?<=\.)\d+(?=\.|$)', 'N', name)


def _without_common_end(old: str, new: str) -> tuple[str, str]:
    a, b = old.split('.'), new.split('.')
    while a and b and a[-1] == b[-1]:
        a.pop()
        b.pop()
    return '.'.join(a), '.'.join(b)


# ------------------------------------------------------------------------------------------------------------------ OpenMMLab
def _mmpose_rules(state_dict: StateDict) -> Rules:
    """Rules for mmpose 0.x, ViTPose's code (made from it) and the betas of mmpose 1.0."""
    head = r'(?:keypoint_)?head\.'
    numbers = [int(match[1]) for name in state_dict if (match := re.match(rf'{head}final_layer\.(\d+)\.', name))]
    # In 0.x the convolutions before the last one, and it, are one sequence called final_layer.
    last = [(rf'{head}final_layer\.{max(numbers)}\.', 'head.final_layer.')] if numbers else []
    return [
        *last,
        (rf'{head}final_layer\.(\d+)\.', r'head.conv_layers.\1.'),
        (r'head\.simplebaseline_head\.', 'head.deconv_head.'),  # SimCC
        (r'keypoint_head\.', 'head.'),
        (r'backbone\.cls_token$', CLASS_TOKEN),
        *_vit_rules('backbone.'),
    ]


def _mmpose_tensors(state_dict: dict[str, Tensor]) -> None:
    name = 'backbone.pos_embed'
    if name not in state_dict:
        return
    positions = state_dict[name]
    if 'backbone.cls_token' in state_dict:
        state_dict[name] = positions[:, 1:]
    elif any(key.startswith('backbone.blocks.') for key in state_dict):
        # ViTPose has no class token and adds its position to that of every patch.
        state_dict[name] = positions[:, 1:] + positions[:, :1]


def _mmdet_rules(state_dict: StateDict) -> Rules:
    """Rules for mmdet 1.x: offsets beside their convolution, and the last layers of FCOS under its name."""
    return [
        (r'(backbone\.layer\d\.\d+\.conv\d)_offset\.', r'\1.conv_offset.'),
        (r'bbox_head\.fcos_(cls|reg|centerness)\.', r'bbox_head.conv_\1.'),
    ]


# --------------------------------------------------------------------------------------------------------------- transformers
def _vit_rules(prefix: str) -> Rules:
    """Rules for timm's names, after `prefix`."""
    start = re.escape(prefix)
    return [
        (rf'{start}blocks\.(\d+)\.norm([12])\.', r'backbone.layers.\1.ln\2.'),
        (rf'{start}blocks\.(\d+)\.mlp\.fc1\.', r'backbone.layers.\1.ffn.layers.0.0.'),
        (rf'{start}blocks\.(\d+)\.mlp\.fc2\.', r'backbone.layers.\1.ffn.layers.1.'),
        (rf'{start}blocks\.', 'backbone.layers.'),
        (rf'{start}(?:last_)?norm\.', 'backbone.ln1.'),
        (rf'{start}patch_embed\.proj\.', 'backbone.patch_embed.projection.'),
    ]


def _timm_vit_rules(state_dict: StateDict) -> Rules:
    return [
        (r'(head|fc_norm)\.', CLASSIFIER),
        (r'cls_token$', CLASS_TOKEN),
        *_vit_rules(''),
        (r'', 'backbone.'),
    ]


def _timm_vit_tensors(state_dict: dict[str, Tensor]) -> None:
    positions = state_dict.get('pos_embed')
    if 'cls_token' in state_dict and positions is not None and math.isqrt(positions.shape[1]) ** 2 != positions.shape[1]:
        state_dict['pos_embed'] = positions[:, 1:]  # a square number is a whole grid: the class token has no position then


def _torchvision_vit_rules(state_dict: StateDict) -> Rules:
    layer = r'encoder\.layers\.encoder_layer_(\d+)\.'
    ours = r'backbone.layers.\1.'
    return [
        (r'heads\.', CLASSIFIER),
        (r'class_token$', CLASS_TOKEN),
        (rf'{layer}ln_([12])\.', rf'{ours}ln\2.'),
        (rf'{layer}self_attention\.in_proj_', rf'{ours}attn.qkv.'),
        (rf'{layer}self_attention\.out_proj\.', rf'{ours}attn.proj.'),
        (rf'{layer}mlp\.(?:0|linear_1)\.', rf'{ours}ffn.layers.0.0.'),
        (rf'{layer}mlp\.(?:3|linear_2)\.', rf'{ours}ffn.layers.1.'),
        (r'encoder\.ln\.', 'backbone.ln1.'),
        (r'encoder\.pos_embedding$', 'backbone.pos_embed'),
        (r'conv_proj\.', 'backbone.patch_embed.projection.'),
    ]


def _torchvision_vit_tensors(state_dict: dict[str, Tensor]) -> None:
    state_dict['encoder.pos_embedding'] = state_dict['encoder.pos_embedding'][:, 1:]


# -------------------------------------------------------------------------------------------------------------- convolutions
def _resnet_rules(state_dict: StateDict) -> Rules:
    """Rules for ResNet, ResNeXt, timm's SE-ResNet, and the authors' Simple Baselines."""
    return [
        (r'fc\.', CLASSIFIER),
        (r'(deconv_layers|final_layer)\.', r'head.\1.'),
        (r'(layer\d\.\d+)\.se\.fc([12])\.', r'backbone.\1.se_layer.conv\2.conv.'),
        (r'', 'backbone.'),
    ]


def _hrnet_rules(state_dict: StateDict) -> Rules:
    """Rules for the authors' HRNet for poses, and for classifiers, theirs and timm's."""
    return [
        (r'(incre_modules|downsamp_modules|final_layer\.\d+|classifier)\.', CLASSIFIER),
        (r'final_layer\.', 'head.final_layer.'),
        (r'', 'backbone.'),
    ]


def _vgg_rules(state_dict: StateDict) -> Rules:
    """Rules for a sequence in which convolution, norm, relu and maximum are one place each; here the first three are one."""
    names = [re.fullmatch(r'features\.(\d+)\.weight', name) for name in state_dict]
    dims = {int(match[1]): state_dict[match[0]].dim() for match in names if match}
    convs = sorted(place for place, dim in dims.items() if dim == 4)
    rules: list[tuple[str, str | Drop]] = []
    ours = 0
    for place, following in zip(convs, [*convs[1:], 0]):
        with_norm = dims.get(place + 1) == 1
        rules.append((rf'features\.{place}\.', f'backbone.features.{ours}.conv.'))
        if with_norm:
            rules.append((rf'features\.{place + 1}\.', f'backbone.features.{ours}.bn.'))
        with_maximum = following - place > (3 if with_norm else 2)
        ours += 2 if with_maximum else 1
    return [*rules, (r'(classifier|pre_logits|head)\.', CLASSIFIER)]


def _mobilenet_v2_rules(state_dict: StateDict) -> Rules:
    """Rules for torchvision: one sequence of the first convolution, all blocks and the last convolution."""
    blocks = [f'layer{stage}.{block}' for stage, count in enumerate((1, 2, 3, 4, 3, 3, 1), start=1) for block in range(count)]
    rules: list[tuple[str, str | Drop]] = []
    for place, ours in enumerate(('conv1', *blocks, 'conv2')):
        start = rf'features\.{place}\.'
        # Convolution and norm of the last layer of a block stand in its sequence themselves.
        last = max((int(match[1]) for name in state_dict if (match := re.match(rf'{start}conv\.(\d+)\.', name))), default=0)
        rules += [
            (rf'{start}conv\.{last - 1}\.', f'backbone.{ours}.conv.{last - 1}.conv.'),
            (rf'{start}conv\.{last}\.', f'backbone.{ours}.conv.{last - 1}.bn.'),
            (rf'{start}conv\.(\d)\.0\.', rf'backbone.{ours}.conv.\1.conv.'),
            (rf'{start}conv\.(\d)\.1\.', rf'backbone.{ours}.conv.\1.bn.'),
            (rf'{start}0\.', f'backbone.{ours}.conv.'),
            (rf'{start}1\.', f'backbone.{ours}.bn.'),
        ]
    return [*rules, (r'classifier\.', CLASSIFIER)]


# --------------------------------------------------------------------------------------------------------------- OpenPose
def _openpose_rules(state_dict: StateDict) -> Rules:
    """Rules for pytorch_Realtime_Multi-Person_Pose_Estimation: model0 is VGG-19, modelS_1 makes the fields of stage S."""
    vgg = zip((0, 2, 5, 7, 10, 12, 14, 16, 19, 21), (0, 1, 3, 4, 6, 7, 8, 9, 11, 12))
    return [
        *((rf'model0\.{place}\.', f'backbone.features.{ours}.conv.') for place, ours in vgg),
        (r'model0\.23\.', 'backbone.cpm.0.conv.'),
        (r'model0\.25\.', 'backbone.cpm.1.conv.'),
        *(
            (rf'model{stage}_{branch}\.{2 * layer}\.', f'head.stages.{stage - 1}.{maps}.{layer}.conv.')
            for stage in range(1, 7)
            for branch, maps in ((1, 'fields'), (2, 'heatmaps'))
            for layer in range(7)
        ),
    ]


def _lightweight_openpose_rules(state_dict: StateDict) -> Rules:
    """Rules for lightweight-human-pose-estimation.pytorch, and for the MobileNet of pytorch-mobilenet that it begins with."""
    stages = [(r'initial_stage\.', 0)]
    stages += [(rf'refinement_stages\.{number}\.', number + 1) for number in range(10)]
    rules: list[tuple[str, str | Drop]] = [
        (r'fc\.', CLASSIFIER),
        (r'model\.0\.0\.', 'backbone.conv1.conv.'),
        (r'model\.0\.1\.', 'backbone.conv1.bn.'),
        (r'cpm\.(align|conv)\.0\.', r'neck.\1.conv.'),
        (r'cpm\.trunk\.(\d)\.0\.', r'neck.trunk.\1.0.conv.'),
        (r'cpm\.trunk\.(\d)\.2\.', r'neck.trunk.\1.1.conv.'),
    ]
    for block in range(13):
        for place, ours in ((0, 'depthwise.conv'), (1, 'depthwise.bn'), (3, 'pointwise.conv'), (4, 'pointwise.bn')):
            rules.append((rf'model\.{block + 1}\.{place}\.', f'backbone.blocks.{block}.{ours}.'))
    for theirs, number in stages:
        ours = f'head.stages.{number}.'
        rules += [
            (rf'{theirs}heatmaps\.(\d)\.0\.', rf'{ours}heatmaps.\1.conv.'),
            (rf'{theirs}pafs\.(\d)\.0\.', rf'{ours}fields.\1.conv.'),
            (rf'{theirs}trunk\.(\d)\.0\.', rf'{ours}trunk.\1.conv.'),
            (rf'{theirs}trunk\.(\d)\.initial\.0\.', rf'{ours}trunk.\1.initial.conv.'),
            (rf'{theirs}trunk\.(\d)\.trunk\.(\d)\.0\.', rf'{ours}trunk.\1.trunk.\2.conv.'),
            (rf'{theirs}trunk\.(\d)\.trunk\.(\d)\.1\.', rf'{ours}trunk.\1.trunk.\2.bn.'),
        ]
    return rules


def _lightweight_openpose_tensors(state_dict: dict[str, Tensor]) -> None:
    """Reorder what a refinement stage reads: theirs are features, heatmaps, fields; ours fields, heatmaps, features."""
    if 'cpm.conv.0.weight' not in state_dict:
        return
    features, heatmaps, fields = (
        len(state_dict[name])
        for name in ('cpm.conv.0.weight', 'initial_stage.heatmaps.1.0.weight', 'initial_stage.pafs.1.0.weight')
    )
    for name in state_dict:
        if re.fullmatch(r'refinement_stages\.\d+\.trunk\.0\.initial\.0\.weight', name):
            parts = state_dict[name].split((features, heatmaps, fields), dim=1)
            state_dict[name] = torch.cat(parts[::-1], dim=1)


# -------------------------------------------------------------------------------------------------------------------- all
def _nothing(state_dict: dict[str, Tensor]) -> None:
    """Leave the tensors as they are."""


@dataclass(frozen=True)
class Layout:
    """One way to name things.

    Attributes:
        name: how messages call it.
        signs: patterns; a state dict has this layout if each of them is the start of one of its names.
        rules: what to do with its names.
        tensors: changes tensors where the names alone are not enough; under the old names, in place of the dict.
    """

    name: str
    signs: tuple[str, ...]
    rules: Callable[[StateDict], Rules]
    tensors: Callable[[dict[str, Tensor]], None] = _nothing

    def fits(self, names: Collection[str]) -> bool:
        return all(any(re.match(sign, name) for name in names) for sign in self.signs)


_MMPOSE, _TIMM_VIT, _TORCHVISION_VIT, _LIGHTWEIGHT_OPENPOSE = (
    (_mmpose_rules, _mmpose_tensors),
    (_timm_vit_rules, _timm_vit_tensors),
    (_torchvision_vit_rules, _torchvision_vit_tensors),
    (_lightweight_openpose_rules, _lightweight_openpose_tensors),
)
LAYOUTS = (
    Layout('mmpose 0.x', (r'keypoint_head\.',), *_MMPOSE),
    Layout('a beta of mmpose 1.0', (r'head\.(simplebaseline_head\.|final_layer\.\d+\.)',), *_MMPOSE),
    Layout('mmdet 1.x', (r'backbone\.layer\d\.\d+\.conv\d_offset\.',), _mmdet_rules),
    Layout('mmdet 1.x', (r'bbox_head\.fcos_cls\.',), _mmdet_rules),
    Layout("ViTPose's own code", (r'backbone\.blocks\.0\.norm1\.',), *_MMPOSE),
    Layout('a ViT with a class token', (r'backbone\.cls_token$',), *_MMPOSE),
    Layout('timm, ViT', (r'blocks\.0\.norm1\.', r'patch_embed\.proj\.'), *_TIMM_VIT),
    Layout('torchvision, ViT', (r'encoder\.layers\.encoder_layer_0\.', r'conv_proj\.'), *_TORCHVISION_VIT),
    Layout('HRNet of its authors or timm', (r'conv1\.weight$', r'stage2\.0\.branches\.'), _hrnet_rules),
    Layout('ResNet of torchvision, timm or Simple Baselines', (r'conv1\.weight$', r'layer1\.0\.conv1\.'), _resnet_rules),
    Layout('VGG of torchvision or timm', (r'features\.0\.weight$',), _vgg_rules),
    Layout('MobileNetV2 of torchvision', (r'features\.0\.0\.weight$', r'features\.18\.0\.weight$'), _mobilenet_v2_rules),
    Layout('OpenPose in PyTorch', (r'model0\.0\.weight$', r'model1_1\.0\.weight$'), _openpose_rules),
    Layout('Lightweight OpenPose, or its MobileNet', (r'model\.0\.0\.weight$', r'model\.1\.3\.weight$'), *_LIGHTWEIGHT_OPENPOSE),
)


def convert_layout(state_dict: StateDict) -> Conversion:
    """Return the weights under our names, if their own are those of a known layout; else as they are.

    Raises:
        ValueError: two names would become one.
    """
    layout = next((layout for layout in LAYOUTS if layout.fits(state_dict)), None)
    if layout is None:
        return Conversion('', dict(state_dict))
    theirs = dict(state_dict)
    layout.tensors(theirs)
    rules = layout.rules(theirs)
    conversion = Conversion(layout.name, {})
    for old, tensor in theirs.items():
        new = _renamed(old, rules)
        if isinstance(new, Drop):
            conversion.dropped[old] = new.reason
            continue
        if new in conversion.state_dict:
            raise ValueError(f'convert_layout: two tensors would be called `{new}` (one is `{old}`); layout: {layout.name}.')
        conversion.state_dict[new] = tensor
        if new != old:
            conversion.renamed[old] = new
    return conversion


def _renamed(name: str, rules: Rules) -> str | Drop:
    for pattern, replacement in rules:
        if re.match(pattern, name):
            return replacement if isinstance(replacement, Drop) else re.sub(f'^{pattern}', replacement, name, count=1)
    return name


def convert_to_fit(state_dict: StateDict, names: Collection[str]) -> Conversion:
    """Return the conversion if more of its names than of the old ones are among `names`, those of a model; else none."""
    conversion = convert_layout(state_dict)
    before, after = (len(set(names) & tensors.keys()) for tensors in (state_dict, conversion.state_dict))
    return conversion if after > before else Conversion('', dict(state_dict))
