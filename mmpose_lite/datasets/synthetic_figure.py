"""An articulated cartoon person: a 3-D skeleton in a random pose, and its drawing with a label for every pixel.

Body frame: x to the person's left, y down, z forward. Camera frame: x right, y down, z towards the viewer, orthographic.
A person who faces the camera thus has their left at the right of the image. Angles are in degrees; lengths are in body
heights until a figure is placed, then in px. All drawing follows the pixel rule of `structures/keypoint_meta.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

Color = tuple[int, int, int]  # BGR
Range = tuple[float, float]

SIDES = ('left', 'right')
_SIDED_PARTS = ('eye', 'ear', 'upper_arm', 'forearm', 'hand', 'thigh', 'shin', 'foot')
PARTS = (
    *('torso', 'pelvis', 'neck', 'head', 'hair', 'nose'),
    *(f'{side}_{part}' for side in SIDES for part in _SIDED_PARTS),
)
PART_INDEX = {part: i for i, part in enumerate(PARTS)}

# The parts at which a joint can be seen; with any other part on top it is hidden.
_SEEN_ON = {
    'eye': ('eye', 'head'),
    'ear': ('ear', 'head'),
    'shoulder': ('upper_arm', 'torso'),
    'elbow': ('upper_arm', 'forearm'),
    'wrist': ('forearm', 'hand'),
    'hip': ('thigh', 'pelvis', 'torso'),
    'knee': ('thigh', 'shin'),
    'ankle': ('shin', 'foot'),
}
_TRUNK = ('torso', 'pelvis')
_FAR_SIDE = -0.75  # a shoulder or hip is behind the trunk when its offset points this far away from the viewer (cosine)

_BONES = dict(torso=0.30, head=0.15, upper_arm=0.165, forearm=0.145, hand=0.035, thigh=0.235, shin=0.225, foot=0.075)
_HALF_WIDTHS = dict(shoulder=0.13, hip=0.072)
_HEAD_AXES = np.array([0.094, 0.112, 0.100])  # half axes of the head along x, y, z
# Directions on the head, as multiples of its half axes; the nose and the ears stand out a little.
_FACE = {
    'nose': np.array([0.0, 0.16, 1.08]),
    'left_eye': np.array([0.40, -0.14, 0.905]),
    'right_eye': np.array([-0.40, -0.14, 0.905]),
    'left_ear': np.array([1.06, 0.05, -0.08]),
    'right_ear': np.array([-1.06, 0.05, -0.08]),
}
_MOUTH = np.array([[-0.30, 0.52, 0.80], [0.0, 0.60, 0.80], [0.30, 0.52, 0.80]])
_DOWN = np.array([0.0, 1.0, 0.0])
_LIGHT = np.array([-0.42, -0.64, 0.64])  # towards the lamp, camera frame

# Ranges of (abduction, flexion, inward twist, elbow bend) and of (abduction, flexion, outward turn, knee bend).
_ARM_STYLES: dict[str, tuple[Range, Range, Range, Range]] = {
    'hang': ((4, 22), (-15, 20), (-20, 60), (0, 45)),
    'out': ((35, 105), (-10, 30), (-60, 60), (0, 90)),
    'up': ((115, 172), (-15, 20), (-40, 40), (0, 70)),
    'ahead': ((0, 30), (30, 110), (-10, 60), (0, 110)),
    'akimbo': ((30, 55), (-30, -5), (65, 100), (75, 110)),
}
_ARM_SHARES = (0.54, 0.18, 0.13, 0.02, 0.13)
_LEG_STYLES: dict[str, tuple[Range, Range, Range, Range]] = {
    'stand': ((1, 12), (-8, 10), (-5, 20), (0, 12)),
    'sit': ((0, 6), (65, 95), (-5, 30), (65, 105)),
    'lunge': ((0, 20), (20, 75), (-5, 30), (15, 95)),
    'kick': ((5, 45), (-30, 80), (-5, 20), (0, 35)),
    'back': ((0, 10), (-30, 0), (-5, 10), (5, 100)),
}

SHIFT = 4  # sub-pixel bits of OpenCV's drawing
_ANGLES = np.linspace(0, 2 * np.pi, 16, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


class Canvas:
    """A picture and, for every pixel, the label of what is on top.

    Attributes:
        image: (H, W, 3) uint8 BGR.
        labels: (H, W) uint8; 0 is background.
    """

    def __init__(self, image: np.ndarray) -> None:
        self.image = image
        self.labels = np.zeros(image.shape[:2], np.uint8)

    def fill(self, points: np.ndarray, color: Color, label: int | None = None) -> None:
        """Fill the convex polygon (N, 2), px; without a label only the picture changes."""
        fixed = np.rint(points * (1 << SHIFT)).astype(np.int32)
        cv2.fillConvexPoly(self.image, fixed, color, cv2.LINE_AA, SHIFT)
        if label is not None:
            cv2.fillConvexPoly(self.labels, fixed, label, cv2.LINE_8, SHIFT)

    def fill_discs(self, centers: np.ndarray, radii: np.ndarray, color: Color, label: int) -> None:
        """Fill the convex hull of discs, centres (N, 2) and radii (N,) in px, lit from the upper left."""
        self.fill(hull_of_discs(centers, radii), shade(color, 0.72), label)
        lit = centers + _LIGHT[:2] * radii[:, None] * 0.25
        self.fill(hull_of_discs(lit, radii * 0.72), color)


def hull_of_discs(centers: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Return the outline (P, 2) of the convex hull of discs: two make a limb, four a trunk."""
    rims = centers[:, None, :2] + radii[:, None, None] * _CIRCLE
    return cv2.convexHull(rims.reshape(-1, 2).astype(np.float32))[:, 0]


def shade(color: Color, factor: float) -> Color:
    """Return the colour made darker (factor < 1) or lighter."""
    b, g, r = (min(255, max(0, round(c * factor))) for c in color)
    return b, g, r


def random_color(rng: np.random.Generator, *, value: Range = (0.15, 1.0)) -> Color:
    """Return a BGR colour of any hue; a third of them nearly grey."""
    saturation = rng.uniform(0, 0.15) if rng.random() < 0.33 else rng.uniform(0.25, 0.95)
    hsv = np.array([[[rng.uniform(0, 360), saturation, rng.uniform(*value)]]], np.float32)
    b, g, r = (255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0]).round().astype(int).tolist()
    return b, g, r


def random_skin(rng: np.random.Generator) -> Color:
    """Return a skin colour (BGR) between light and dark brown."""
    light, dark = np.array([175.0, 205.0, 245.0]), np.array([45.0, 70.0, 110.0])
    b, g, r = (light + (dark - light) * rng.random() + rng.normal(0, 6, 3)).clip(0, 255).round().astype(int).tolist()
    return b, g, r


@dataclass(frozen=True)
class Look:
    """What a person wears: BGR colours, and shares of a limb that cloth covers."""

    skin: Color
    top: Color
    bottom: Color
    shoes: Color
    hair: Color
    stripes: Color | None
    sleeve: float  # 0..2: up to 1 covers the upper arm, the rest the forearm
    trouser: float  # 0..2, likewise
    girth: float
    hair_style: str  # 'short', 'long' (covers the ears) or 'none'

    @classmethod
    def sample(cls, rng: np.random.Generator) -> 'Look':
        return cls(
            skin=random_skin(rng),
            top=random_color(rng),
            bottom=random_color(rng, value=(0.1, 0.8)),
            shoes=random_color(rng, value=(0.05, 0.9)),
            hair=random_color(rng, value=(0.05, 0.3)) if rng.random() < 0.7 else random_color(rng),
            stripes=random_color(rng) if rng.random() < 0.25 else None,
            sleeve=float(rng.choice([0.0, 0.5, 1.0, 2.0], p=[0.15, 0.15, 0.3, 0.4])),
            trouser=float(rng.choice([0.7, 2.0], p=[0.35, 0.65])),
            girth=float(rng.uniform(1.1, 1.55)),
            hair_style=str(rng.choice(['short', 'long', 'none'], p=[0.65, 0.27, 0.08])),
        )


def _rotation(axis: str, degrees: float) -> np.ndarray:
    """Return the (3, 3) rotation about 'x', 'y' or 'z'."""
    a, b = {'x': (1, 2), 'y': (2, 0), 'z': (0, 1)}[axis]
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.eye(3)
    matrix[a, a], matrix[a, b], matrix[b, a], matrix[b, b] = c, -s, s, c
    return matrix


def _draw_ranges(rng: np.random.Generator, ranges: tuple[Range, ...]) -> list[float]:
    return [float(rng.uniform(low, high)) for low, high in ranges]


def _sample_limbs(rng: np.random.Generator) -> dict[str, list[float]]:
    """Return the four angles of every limb, keys 'left_arm', 'left_leg', ...: standing, walking, sitting or active."""
    activity = rng.choice(['stand', 'walk', 'sit', 'active'], p=[0.5, 0.35, 0.03, 0.12])
    limbs = {}
    both_arms = rng.choice(list(_ARM_STYLES), p=_ARM_SHARES)
    for side in SIDES:
        arm = both_arms if rng.random() < 0.75 else rng.choice(list(_ARM_STYLES), p=_ARM_SHARES)
        limbs[f'{side}_arm'] = _draw_ranges(rng, _ARM_STYLES[arm])
        leg = rng.choice(['stand', 'lunge', 'kick', 'back']) if activity == 'active' else 'sit' if activity == 'sit' else 'stand'
        limbs[f'{side}_leg'] = _draw_ranges(rng, _LEG_STYLES[leg])
    if activity == 'walk':
        swing = rng.uniform(10, 38) * rng.choice([-1, 1])
        for side, sign in zip(SIDES, (1, -1)):
            limbs[f'{side}_leg'][1] = swing * sign
            limbs[f'{side}_leg'][3] = rng.uniform(5, 25) if swing * sign > 0 else rng.uniform(10, 55)
            if both_arms == 'hang':
                limbs[f'{side}_arm'][1] = -swing * sign * rng.uniform(0.6, 1.2)
    return limbs


def _sample_yaw(rng: np.random.Generator) -> float:
    """Return the turn of the body: 0 faces the camera, 90 faces the right edge of the image, 180 shows the back."""
    center = rng.choice([0.0, 180.0, 90.0, -90.0], p=[0.88, 0.04, 0.04, 0.04])
    return float(center + rng.normal(0, 18))


@dataclass
class Figure:
    """A person in the camera frame.

    Attributes:
        joints: name -> (3,): the body joints of COCO, and `neck`, `head`, `{side}_hand`, `{side}_toe`.
        head_frame: (3, 3), columns are the head's x, y, z in the camera frame.
        look: clothes.
        height: body height, px (1 before `placed`).
    """

    joints: dict[str, np.ndarray]
    head_frame: np.ndarray
    look: Look
    height: float = 1.0

    @classmethod
    def sample(cls, rng: np.random.Generator) -> 'Figure':
        """Return a random figure of height 1 around the origin."""
        limbs, look = _sample_limbs(rng), Look.sample(rng)
        bone = {name: length * rng.uniform(0.92, 1.08) for name, length in _BONES.items()}
        roll = rng.normal(0, 5 if rng.random() < 0.95 else 20)
        body = _rotation('z', roll) @ _rotation('x', rng.uniform(-12, 12)) @ _rotation('y', _sample_yaw(rng))
        chest = body @ _rotation('x', rng.uniform(-18, 8)) @ _rotation('z', rng.normal(0, 6)) @ _rotation('y', rng.normal(0, 8))
        head = chest @ _rotation('y', np.clip(rng.normal(0, 15), -50, 50)) @ _rotation('x', rng.uniform(-12, 12))
        head = head @ _rotation('z', rng.normal(0, 8))

        neck = -bone['torso'] * chest[:, 1]
        joints = {'neck': neck, 'head': neck - bone['head'] * (0.5 * chest[:, 1] + 0.5 * head[:, 1])}
        for side, sign in zip(SIDES, (1, -1)):
            mirror = np.diag([sign, 1.0, 1.0])
            joints[f'{side}_shoulder'] = neck + sign * _HALF_WIDTHS['shoulder'] * chest[:, 0]
            abduction, flexion, twist, bend = limbs[f'{side}_arm']
            upper = _rotation('z', -abduction) @ _rotation('x', flexion) @ _rotation('y', -twist)
            lower = chest @ mirror @ upper @ _rotation('x', bend) @ _DOWN
            upper = chest @ mirror @ upper @ _DOWN
            joints[f'{side}_elbow'] = joints[f'{side}_shoulder'] + bone['upper_arm'] * upper
            joints[f'{side}_wrist'] = joints[f'{side}_elbow'] + bone['forearm'] * lower
            joints[f'{side}_hand'] = joints[f'{side}_wrist'] + bone['hand'] * lower

            joints[f'{side}_hip'] = sign * _HALF_WIDTHS['hip'] * body[:, 0]
            abduction, flexion, turn, bend = limbs[f'{side}_leg']
            upper = body @ mirror @ _rotation('z', -abduction) @ _rotation('y', turn) @ _rotation('x', flexion)
            lower = upper @ _rotation('x', -bend)
            joints[f'{side}_knee'] = joints[f'{side}_hip'] + bone['thigh'] * (upper @ _DOWN)
            joints[f'{side}_ankle'] = joints[f'{side}_knee'] + bone['shin'] * (lower @ _DOWN)
            joints[f'{side}_toe'] = joints[f'{side}_ankle'] + bone['foot'] * (lower @ np.array([0.0, 0.32, 0.95]))
        for name, direction in _FACE.items():
            joints[name] = joints['head'] + head @ (_HEAD_AXES * direction)
        return cls(joints, head, look)

    def placed(self, center: np.ndarray, height: float) -> 'Figure':
        """Return the figure `height` px tall with the middle of its box at `center` (2,), px."""
        low, high = self.extent()
        offset = np.array([*(center - height * (low + high) / 2), 0.0])
        joints = {name: height * point + offset for name, point in self.joints.items()}
        return Figure(joints, self.head_frame, self.look, self.height * height)

    def extent(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the upper left and lower right corner (2,) of the box around the figure."""
        points = np.stack(list(self.joints.values()))[:, :2]
        top = self.joints['head'][:2] - self.height * _HEAD_AXES[1]
        margin = 0.03 * self.height
        return np.minimum(points.min(0) - margin, top), np.maximum(points.max(0) + margin, top)

    def is_seen(self, keypoint: str, part: str) -> bool:
        """Whether `keypoint` shows itself where the topmost part at its pixel is `part` of the same person."""
        if keypoint == 'nose':
            return part in ('nose', 'head') and self.faces_viewer(keypoint)
        side, joint = keypoint.split('_')
        if joint in ('eye', 'ear') and not self.faces_viewer(keypoint):
            return False
        if joint in ('shoulder', 'hip') and part in _TRUNK:
            offset = self.joints[keypoint] - self.joints[f'{SIDES[side == "left"]}_{joint}']
            return bool(offset[2] > _FAR_SIDE * np.linalg.norm(offset))
        return part.removeprefix(f'{side}_') in _SEEN_ON[joint]

    def faces_viewer(self, feature: str) -> bool:
        """Whether a nose, eye or ear lies on the near side of the head, and no hair covers it."""
        if feature.endswith('ear'):
            return self.look.hair_style != 'long' and self.toward_viewer(feature) > -0.4
        return self.toward_viewer(feature) > (0.0 if feature == 'nose' else 0.12)

    def toward_viewer(self, feature: str) -> float:
        return float((self.head_frame @ _FACE[feature])[2])

    def draw(self, canvas: Canvas, first_label: int) -> None:
        """Draw the figure, far parts first; part i of `PARTS` gets the label `first_label` + i."""
        painter = _Painter(self, canvas, first_label)
        for _, paint in sorted(painter.steps(), key=lambda step: step[0]):
            paint()


class _Painter:
    """Draws one figure. Every step is a depth (in body heights, larger is nearer) and a function."""

    def __init__(self, figure: Figure, canvas: Canvas, first_label: int) -> None:
        self.figure, self.canvas, self.look = figure, canvas, figure.look
        self.joints, self.unit = figure.joints, figure.height
        self.labels = {part: first_label + i for part, i in PART_INDEX.items()}

    def steps(self) -> list[tuple[float, Callable[[], None]]]:
        trunk = self.depth('left_hip', 'right_hip', 'neck', 'neck')
        head = self.depth('head') + 0.02
        steps: list[tuple[float, Callable[[], None]]] = [
            (trunk - 0.002, self.paint_pelvis),
            (trunk, self.paint_torso),
            (min(trunk, head) + 0.001, self.paint_neck),
            (head + 0.002, self.paint_head),
        ]
        if self.look.hair_style == 'long':
            behind = self.joints['head'] - 0.5 * self.unit * _HEAD_AXES[2] * self.figure.head_frame[:, 2]
            steps.append((behind[2] / self.unit, self.paint_mane))
        for side in SIDES:
            for depth, part in (
                (self.depth(f'{side}_shoulder', f'{side}_elbow') + 0.02, self.paint_upper_arm),
                (self.depth(f'{side}_elbow', f'{side}_wrist') + 0.021, self.paint_forearm),
                (self.depth(f'{side}_hip', f'{side}_knee') - 0.004, self.paint_thigh),
                (self.depth(f'{side}_knee', f'{side}_ankle') - 0.005, self.paint_shin),
            ):
                steps.append((depth, lambda part=part, side=side: part(side)))
        return steps

    def depth(self, *names: str) -> float:
        return float(np.mean([self.joints[name][2] for name in names])) / self.unit

    def tube(self, part: str, names: tuple[str, ...], radii: tuple[float, ...], color: Color, *, until: float = 1.0) -> None:
        """Draw a hull around joints; `until` < 1 ends a two-jointed one (a sleeve) that far along."""
        points = np.stack([self.joints[name] for name in names])
        sizes = np.array(radii) * self.unit * self.look.girth
        if until < 1:
            points[1] += (1 - until) * (points[0] - points[1])
            sizes[1] += (1 - until) * (sizes[0] - sizes[1])
        near = float(points[:, 2].mean()) / self.unit  # what is farther away is a little darker
        self.canvas.fill_discs(points[:, :2], sizes, shade(color, float(np.clip(1 + 0.6 * near, 0.8, 1.15))), self.labels[part])

    def limb(self, part: str, names: tuple[str, str], radii: tuple[float, float], cloth: Color, covered: float) -> None:
        """Draw a limb of skin and over its first `covered` share (0..1) a sleeve or trouser leg."""
        if covered < 1:
            self.tube(part, names, radii, self.look.skin)
        if covered > 0:
            self.tube(part, names, (radii[0] + 0.004, radii[1] + 0.004), cloth, until=min(covered, 1.0))

    def paint_upper_arm(self, side: str) -> None:
        names = (f'{side}_shoulder', f'{side}_elbow')
        self.limb(f'{side}_upper_arm', names, (0.036, 0.028), self.look.top, self.look.sleeve)

    def paint_forearm(self, side: str) -> None:
        self.tube(f'{side}_hand', (f'{side}_wrist', f'{side}_hand'), (0.022, 0.024), self.look.skin)
        names = (f'{side}_elbow', f'{side}_wrist')
        self.limb(f'{side}_forearm', names, (0.028, 0.021), self.look.top, self.look.sleeve - 1)

    def paint_thigh(self, side: str) -> None:
        names = (f'{side}_hip', f'{side}_knee')
        self.limb(f'{side}_thigh', names, (0.052, 0.037), self.look.bottom, self.look.trouser)

    def paint_shin(self, side: str) -> None:
        foot = (f'{side}_ankle', f'{side}_toe')
        self.tube(f'{side}_foot', foot, (0.026, 0.021), self.look.shoes)
        names = (f'{side}_knee', f'{side}_ankle')
        self.limb(f'{side}_shin', names, (0.036, 0.024), self.look.bottom, self.look.trouser - 1)

    def paint_pelvis(self) -> None:
        self.tube('pelvis', ('left_hip', 'right_hip'), (0.055, 0.055), self.look.bottom)

    def paint_torso(self) -> None:
        joints, unit, girth = self.joints, self.unit, self.look.girth
        hips = [joints[f'{side}_hip'] for side in SIDES]
        shoulders = [joints[f'{side}_shoulder'] for side in SIDES]
        spine, neck = (hips[0] + hips[1]) / 2, joints['neck']
        points = np.stack([*shoulders, *(0.85 * hip + 0.15 * neck for hip in hips), 0.3 * spine + 0.7 * neck])[:, :2]
        sizes = np.array([0.036, 0.036, 0.042, 0.042, 0.066]) * unit * girth
        self.canvas.fill_discs(points, sizes, self.look.top, self.labels['torso'])
        if self.look.stripes is not None:
            for share in (0.2, 0.4, 0.6, 0.8):
                ends = np.stack([share * hip + (1 - share) * shoulder for hip, shoulder in zip(hips, shoulders)])[:, :2]
                self.canvas.fill(hull_of_discs(ends, np.full(2, 0.012 * unit)), self.look.stripes)

    def paint_neck(self) -> None:
        self.tube('neck', ('neck', 'head'), (0.032, 0.03), shade(self.look.skin, 0.9), until=0.6)

    def paint_mane(self) -> None:
        frame, unit = self.figure.head_frame, self.unit
        nape = self.joints['head'] - 0.045 * unit * frame[:, 2]
        ends = np.stack([nape, nape + 0.12 * unit * _DOWN - 0.02 * unit * frame[:, 2]])[:, :2]
        self.canvas.fill_discs(ends, np.array([0.075, 0.05]) * unit, self.look.hair, self.labels['hair'])

    def paint_head(self) -> None:
        for near in (False, True):
            if near:
                self.paint_skull()
            for side in SIDES:
                ear = f'{side}_ear'
                if self.look.hair_style != 'long' and (self.figure.toward_viewer(ear) > 0) == near:
                    self.canvas.fill_discs(
                        self.joints[ear][None, :2], np.array([0.018 * self.unit]), self.look.skin, self.labels[ear]
                    )
        self.paint_face()

    def paint_skull(self) -> None:
        """Render an ellipsoid pixel by pixel: skin, and hair on the directions around the back of the crown."""
        frame, axes, canvas = self.figure.head_frame, _HEAD_AXES * self.unit, self.canvas
        h, w = canvas.labels.shape
        center, reach = self.joints['head'][:2], axes.max() + 2
        x0, y0 = np.maximum(np.floor(center - reach), 0).astype(int)
        x1, y1 = np.minimum(np.ceil(center + reach) + 1, (w, h)).astype(int)
        if x0 >= x1 or y0 >= y1:
            return
        x, y = np.meshgrid(np.arange(x0, x1) - center[0], np.arange(y0, y1) - center[1])
        quadric = frame @ np.diag(axes**-2) @ frame.T  # p' quadric p = 1 on the surface; solve for the nearer z
        (a11, a12, a13), (_, a22, a23), (_, _, a33) = quadric
        slope = a13 * x + a23 * y
        root = slope**2 - a33 * (a11 * x**2 + 2 * a12 * x * y + a22 * y**2 - 1)
        gx = 2 * (a13 * slope - a33 * (a11 * x + a12 * y))
        gy = 2 * (a23 * slope - a33 * (a12 * x + a22 * y))
        cover = np.clip(root / (np.hypot(gx, gy) + 1e-12) + 0.5, 0, 1)  # distance to the rim in px -> anti-aliasing
        z = (np.sqrt(np.maximum(root, 0)) - slope) / a33
        on_head = np.stack([x, y, z], axis=-1) @ frame / axes  # unit directions in the head's frame
        normals = on_head / axes @ frame.T
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-12
        light = 0.78 + 0.3 * np.clip(normals @ _LIGHT, 0, 1)
        edge = {'short': 0.1, 'long': -0.22, 'none': 2.0}[self.look.hair_style]
        hair = on_head @ np.array([0.0, -0.8, -0.6]) > edge
        colors = np.where(hair[..., None], np.array(self.look.hair, float), np.array(self.look.skin, float)) * light[..., None]
        patch = canvas.image[y0:y1, x0:x1]
        patch[:] = np.rint(patch + cover[..., None] * (colors.clip(0, 255) - patch)).astype(np.uint8)
        inside = cover >= 0.5
        labels = np.where(hair, self.labels['hair'], self.labels['head'])
        canvas.labels[y0:y1, x0:x1][inside] = labels[inside]

    def paint_face(self) -> None:
        frame, unit, canvas = self.figure.head_frame, self.unit, self.canvas
        for side in SIDES:
            eye = f'{side}_eye'
            if self.figure.faces_viewer(eye):
                center = self.joints[eye][:2]
                squeeze = np.array([max(self.figure.toward_viewer(eye), 0.35), 1.0])
                canvas.fill(center + 0.019 * unit * _CIRCLE * squeeze, (245, 245, 245), self.labels[eye])
                canvas.fill(center + 0.010 * unit * _CIRCLE, (25, 20, 20))
        mouth = (frame @ (_HEAD_AXES * _MOUTH).T).T
        if mouth[1, 2] > 0.02:
            points = self.joints['head'][:2] + unit * mouth[:, :2]
            for ends in (points[:2], points[1:]):
                canvas.fill(hull_of_discs(ends, np.full(2, 0.006 * unit)), shade(self.look.skin, 0.45))
        if self.figure.faces_viewer('nose'):
            tip = self.joints['nose'][None, :2]
            canvas.fill_discs(tip, np.array([0.015 * unit]), shade(self.look.skin, 0.85), self.labels['nose'])
