"""The built-in sets of classes: what `ClassMeta.load` takes by name."""

import colorsys
from typing import Any

_CITYSCAPES = (
    'road sidewalk building wall fence pole traffic_light traffic_sign vegetation terrain sky person rider car truck bus train '
    'motorcycle bicycle'
)
_CITYSCAPES_PALETTE = (
    *((128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30)),
    *((220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70)),
    *((0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32)),
)
_VOC = (
    'background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant '
    'sheep sofa train tvmonitor'
)

# COCO's 80 things, in the order of their ids, which is that of mmdet's labels.
_COCO = (
    'person/bicycle/car/motorcycle/airplane/bus/train/truck/boat/traffic light/fire hydrant/stop sign/parking meter/bench/bird/'
    'cat/dog/horse/sheep/cow/elephant/bear/zebra/giraffe/backpack/umbrella/handbag/tie/suitcase/frisbee/skis/snowboard/'
    'sports ball/kite/baseball bat/baseball glove/skateboard/surfboard/tennis racket/bottle/wine glass/cup/fork/knife/spoon/bowl/'
    'banana/apple/sandwich/orange/broccoli/carrot/hot dog/pizza/donut/cake/chair/couch/potted plant/bed/dining table/toilet/tv/'
    'laptop/mouse/remote/keyboard/cell phone/microwave/oven/toaster/sink/refrigerator/book/clock/vase/scissors/teddy bear/'
    'hair drier/toothbrush'
)


# COCO counts its things from 1 to 90 and leaves these out.
_COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
_COCO_IDS = tuple(i for i in range(1, 91) if i not in _COCO_GAPS)


def hue_color(k: int) -> tuple[int, int, int]:
    """Return the RGB colour number k of a series in which every prefix is spread evenly over the hues, by the golden ratio."""
    r, g, b = (round(255 * v) for v in colorsys.hsv_to_rgb(k * 0.61803398875 % 1, 0.75, 0.95))
    return r, g, b


def voc_color(label: int) -> tuple[int, int, int]:
    """Return the RGB colour that PASCAL VOC's palette gives a label: its bits, three by three, from the top of each channel."""
    color = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            color[channel] |= (label >> (3 * bit + channel) & 1) << (7 - bit)
    return color[0], color[1], color[2]


# Cityscapes: the 19 training classes (labelTrainIds). VOC: the palette of its own PNGs. person_parts: what
# SyntheticPeopleSegmentation draws, sides taken together. coco80, voc20 and pedestrian are of objects: no background.
BUILTIN: dict[str, dict[str, Any]] = {
    'cityscapes': dict(classes=_CITYSCAPES.split(), palette=_CITYSCAPES_PALETTE),
    'voc2012': dict(classes=_VOC.split(), palette=[voc_color(k) for k in range(21)]),
    'person': dict(classes=['background', 'person'], palette=[(0, 0, 0), (220, 20, 60)]),
    'person_parts': dict(
        classes=['background', 'head', 'torso', 'upper_arm', 'lower_arm', 'upper_leg', 'lower_leg'],
        palette=[(0, 0, 0), (228, 26, 28), (55, 126, 184), (77, 175, 74), (152, 78, 163), (255, 127, 0), (255, 221, 51)],
    ),
    'coco80': dict(classes=_COCO.split('/'), palette=[hue_color(k) for k in range(80)], category_ids=_COCO_IDS),
    'voc20': dict(classes=_VOC.split()[1:], palette=[voc_color(k) for k in range(1, 21)]),
    'pedestrian': dict(classes=['person'], palette=[(220, 20, 60)]),
}
