"""The four times of day as light: the sky, where the sun stands, what it does to scenery and to the product.

Scenery is tinted fully; products only so far that their ten colours stay apart (the judge's table of confusions decided
how far).
"""

from __future__ import annotations

from dataclasses import dataclass

from models.sketch.training.world.canvas import Rgb


@dataclass(frozen=True)
class Light:
    """One time of day. Colours of light are factors per channel; colours of things are 0 to 255."""

    sky: tuple[Rgb, Rgb, Rgb]
    """At the top, half way down, at the horizon."""
    sun_at: tuple[float, float]
    """Of the sun or the moon in the picture, in half short sides from the middle."""
    sun_disc: Rgb
    sun_radius: float
    tint: Rgb
    """Of scenery."""
    haze: Rgb
    haze_share: float
    """How much of the haze covers what is farthest away."""
    towards: tuple[float, float, float]
    """Direction from the product to its key light: right, up, towards the viewer."""
    key: Rgb
    ambient: Rgb
    rim: Rgb
    rim_side: float
    """Where the light behind the product stands: -1 left, 1 right."""
    shadow: tuple[float, float, float, float]
    """Of a standing thing: right and down per height, strength, blur in half short sides."""
    room: Rgb
    """Tint of walls indoors."""
    lamps: float
    """How much artificial light is on, 0 to 1."""

    def lit(self, rgb: Rgb, far: float = 0.0) -> Rgb:
        """A thing's colour in this light, `far` of 1 being the horizon."""
        share = self.haze_share * far
        r, g, b = (
            min(255.0, c * t) * (1 - share) + h * share for c, t, h in zip(rgb, self.tint, self.haze, strict=True)
        )
        return r, g, b

    def indoors(self, rgb: Rgb) -> Rgb:
        """A wall's or a table's colour in this light."""
        r, g, b = (min(255.0, c * t) for c, t in zip(rgb, self.room, strict=True))
        return r, g, b


LIGHTS: dict[str, Light] = {
    "morning": Light(
        sky=((126, 172, 222), (214, 206, 218), (255, 218, 186)),
        sun_at=(-0.62, -0.02),
        sun_disc=(255, 246, 214),
        sun_radius=0.15,
        tint=(1.0, 0.92, 0.86),
        haze=(255, 226, 206),
        haze_share=0.72,
        towards=(-0.78, 0.38, 0.5),
        key=(0.74, 0.68, 0.6),
        ambient=(0.5, 0.52, 0.57),
        rim=(1.0, 0.9, 0.72),
        rim_side=-1,
        shadow=(0.95, 0.2, 0.46, 0.045),
        room=(1.0, 0.95, 0.88),
        lamps=0.0,
    ),
    "noon": Light(
        sky=((34, 112, 224), (92, 164, 242), (190, 226, 252)),
        sun_at=(0.42, -0.86),
        sun_disc=(255, 255, 246),
        sun_radius=0.14,
        tint=(1.06, 1.06, 1.02),
        haze=(196, 224, 248),
        haze_share=0.42,
        towards=(0.3, 0.74, 0.6),
        key=(0.74, 0.73, 0.7),
        ambient=(0.53, 0.54, 0.56),
        rim=(0.5, 0.52, 0.55),
        rim_side=1,
        shadow=(-0.12, 0.16, 0.55, 0.02),
        room=(1.08, 1.08, 1.06),
        lamps=0.0,
    ),
    "evening": Light(
        sky=((66, 46, 122), (206, 84, 112), (255, 166, 70)),
        sun_at=(0.6, 0.02),
        sun_disc=(255, 214, 120),
        sun_radius=0.24,
        tint=(0.9, 0.62, 0.58),
        haze=(236, 112, 84),
        haze_share=0.62,
        towards=(0.84, 0.32, 0.42),
        key=(0.8, 0.7, 0.58),
        ambient=(0.42, 0.39, 0.44),
        rim=(1.0, 0.68, 0.36),
        rim_side=1,
        shadow=(-1.1, 0.2, 0.52, 0.045),
        room=(0.92, 0.66, 0.52),
        lamps=0.55,
    ),
    "night": Light(
        sky=((6, 10, 36), (18, 28, 74), (44, 62, 122)),
        sun_at=(-0.52, -0.66),
        sun_disc=(240, 244, 255),
        sun_radius=0.13,
        tint=(0.2, 0.26, 0.46),
        haze=(30, 44, 96),
        haze_share=0.55,
        towards=(-0.45, 0.62, 0.64),
        key=(0.64, 0.64, 0.68),
        ambient=(0.32, 0.32, 0.38),
        rim=(0.62, 0.76, 1.0),
        rim_side=-1,
        shadow=(0.45, 0.16, 0.55, 0.07),
        room=(0.36, 0.35, 0.47),
        lamps=1.0,
    ),
}
