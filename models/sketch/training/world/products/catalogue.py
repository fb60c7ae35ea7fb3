"""The eight products, and the views of them that pictures are made from.

A view says where the product's own colour (`body`), its paler companion
(`accent`) and fixed materials are. Small things that only a person will notice are meant: the mug smiles, the watch
knows what time it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import cos

import numpy as np

from models.sketch.training.world.products import goods, vessels
from models.sketch.training.world.products.solids import AIM, PITCH, Array, Solid, View, look
from models.sketch.training.world.products.surfaces import Painter

SIDE = 288
"""Pixels of a view: as large as a product ever is in a picture drawn at twice the resolution."""
REACH = 0.72
"""What a view shows to either side of the aim, in sizes of the product."""
TURN_STEP = 0.15
"""Products are looked at in steps of yaw this large, so that 8 x 7 views serve every ordinary scene."""

_INKED = ("bottle", "can", "mug", "box", "jar", "shoe")


@dataclass(frozen=True)
class Product:
    solid: Solid
    painted: Painter
    yaw: float
    """The usual view, in radians."""
    swing: float = 1.0
    """How much of a scene's turn it makes: some are told by one side."""


@dataclass(frozen=True)
class ProductView:
    """One look at a product: pictures of four channels, cut from a square of `SIDE` pixels, ready to be warped."""

    form: Array
    """Coverage; normal's x, y, z."""
    share: Array
    """Occlusion; body; accent; metal."""
    fixed: Array
    """Fixed colours times their share, 0 to 255; glow."""
    box: tuple[int, int, int, int]
    """Left, top, right, bottom of the cut in the square: what is covered, and a pixel or two around it."""
    foot: tuple[float, float]
    """Half width and half height, in the picture, of what stands on the ground, in sizes of the product."""


FOOT_ROW = (1 + AIM * cos(PITCH) / REACH) * SIDE / 2
"""Row of a view where the middle of the product's foot is."""


PRODUCTS: dict[str, Product] = {
    "bottle": Product(vessels.BOTTLE, vessels.paint_bottle, 0.0),
    "can": Product(vessels.can, vessels.paint_can, 0.2),
    "mug": Product(vessels.mug, vessels.paint_mug, 0.15, 0.65),
    "box": Product(goods.gift, goods.paint_box, -0.6),
    "jar": Product(vessels.JAR, vessels.paint_jar, 0.0),
    "shoe": Product(goods.shoe, goods.paint_shoe, 0.12, 0.75),
    "watch": Product(goods.watch, goods.paint_watch, 0.2, 0.55),
    "lamp": Product(goods.lamp, goods.paint_lamp, 0.0),
}


@cache
def _viewed(shape: str, step: int) -> View:
    product = PRODUCTS[shape]
    return look(product.solid, product.yaw + step * TURN_STEP * product.swing, SIDE, REACH)


@cache
def _seen(shape: str, step: int, hour: float, ink: str) -> ProductView:
    view = _viewed(shape, step)
    surface = PRODUCTS[shape].painted(*view.at, ink)
    if shape == "watch":
        surface.paint("dark", goods.hands(view.at, hour))
    rows, columns = np.nonzero(view.cover > 0)
    box = (int(columns.min()) - 2, int(rows.min()) - 2, int(columns.max()) + 3, int(rows.max()) + 3)
    wide, tall = ((view.cover > 0.5) & (view.at[1] < height) for height in (0.08, 0.03))

    def cut(*channels: Array) -> Array:
        return np.dstack([c[box[1] : box[3], box[0] : box[2]] for c in channels]).astype(np.float32)

    return ProductView(
        form=cut(view.cover, view.normal),
        share=cut(view.occlusion, surface.body, surface.accent, surface.metal),
        fixed=cut(surface.fixed, surface.glow),
        box=box,
        foot=(
            float(np.ptp(np.nonzero(wide.any(0))[0])) / SIDE * REACH,
            max(0.02, (float(np.nonzero(tall.any(1))[0].max()) - FOOT_ROW) / SIDE * 2 * REACH),
        ),
    )


def seen(shape: str, turn: float, hour: float = 10.15, colour: str = "") -> ProductView:
    """The product's view nearest to a yaw from its usual one; a watch shows the hour; white is drawn on in grey."""
    ink = "slate" if colour == "white" and shape in _INKED else "cream"
    return _seen(shape, round(turn / TURN_STEP), hour if shape == "watch" else 0.0, ink)
