"""The round products, turned on a lathe: bottle, can, mug and jar, each a solid and what is painted on it.

Products stand on y = 0 and their larger dimension is about 1.
"""

from __future__ import annotations

from math import pi

import numpy as np

from models.sketch.training.world.products.solids import Array, Lathe, blend, box
from models.sketch.training.world.products.surfaces import Surface, around, blank, soft

# --- bottle: round shoulders, a screw cap, a paper label with a rising sun


BOTTLE = Lathe((
    (0, 0), (0.13, 0), (0.185, 0), (0.2, 0.02), (0.2, 0.05), (0.2, 0.3), (0.2, 0.5),
    (0.2, 0.56), (0.185, 0.63), (0.12, 0.7), (0.075, 0.75), (0.068, 0.8), (0.068, 0.85), (0.068, 0.868),
    (0.088, 0.868), (0.088, 0.875), (0.088, 0.98), (0.088, 0.995), (0.075, 1.0), (0, 1.0),
))  # fmt: skip


def paint_bottle(x: Array, y: Array, z: Array, ink: str) -> Surface:
    s = blank(x)
    a = around(x, z)
    s.paint("accent", soft(np.minimum(y - 0.145, 0.465 - y)))
    s.paint("cream", soft(np.minimum(y - 0.165, 0.445 - y)))
    across = a * 0.2
    sun = soft(0.062 - np.hypot(across, y - 0.29))
    rays = soft(0.012 - np.abs(np.mod(np.arctan2(across, y - 0.29) * 8 / (2 * pi), 1) - 0.5) * 0.08)
    ring = np.hypot(across, y - 0.29)
    s.paint("body" if ink == "cream" else ink, np.maximum(sun, rays * soft(np.minimum(ring - 0.078, 0.108 - ring))))
    s.paint("dark", soft(y - 0.866))
    groove = 0.5 + 0.5 * np.cos(a * 22)
    s.paint("steel", 0.35 * groove * soft(y - 0.885) * soft(0.975 - y))
    return s


# --- can: necked ends in bare metal, a wave around it, a pull tab


_CAN_BODY = Lathe((
    (0, 0.02), (0.16, 0.02), (0.2, 0), (0.225, 0), (0.24, 0.02), (0.278, 0.075), (0.285, 0.1),
    (0.285, 0.3), (0.285, 0.84), (0.28, 0.87), (0.242, 0.945), (0.242, 0.955), (0.246, 0.98), (0.24, 0.99),
    (0.228, 0.985), (0.218, 0.95), (0, 0.945),
))  # fmt: skip


def can(x: Array, y: Array, z: Array) -> Array:
    tab = box(x, y - 0.962, z - 0.02, (0.045, 0.012, 0.085), 0.01)
    return np.minimum(_CAN_BODY(x, y, z), tab)


def paint_can(x: Array, y: Array, z: Array, ink: str) -> Surface:
    s = blank(x)
    a = around(x, z)
    wave = 0.5 + 0.12 * np.sin(a * 1.5 + 0.6)
    s.paint("accent", soft(0.1 - np.abs(y - wave + 0.02)))
    s.paint(ink, soft(0.055 - np.abs(y - wave)))
    for k, (at, radius) in enumerate(((0.72, 0.026), (0.79, 0.017), (0.7, 0.015))):
        s.paint(ink, soft(radius - np.hypot((a - (-0.35 + 0.24 * k)) * 0.285, y - at)))
    s.paint("steel", np.maximum(soft(y - 0.882), soft(0.055 - y)))
    return s


# --- mug: a thick handle, coffee in it, and a smile


_MUG_BODY = Lathe((
    (0, 0), (0.24, 0), (0.29, 0.0), (0.32, 0.02), (0.325, 0.06), (0.335, 0.4), (0.342, 0.74),
    (0.342, 0.77), (0.326, 0.79), (0.31, 0.775), (0.3, 0.73), (0.29, 0.7), (0, 0.7),
))  # fmt: skip


def mug(x: Array, y: Array, z: Array) -> Array:
    px = x + 0.12
    ring = np.hypot((px - 0.34) / 1.0, (y - 0.4) / 1.12) - 0.2
    handle = np.hypot(ring, z * 0.85) - 0.047
    outer = np.hypot(px, z) - 0.31
    handle = np.maximum(handle, -outer)
    return blend(_MUG_BODY(px, y, z), np.asarray(handle, np.float32), 0.05)


def paint_mug(x: Array, y: Array, z: Array, ink: str) -> Surface:
    px = x + 0.12
    s = blank(x)
    a = around(px, z)
    rho = np.hypot(px, z)
    s.paint("accent", soft(y - 0.735) * soft(0.36 - rho))
    s.paint("inside", soft(0.306 - rho) * soft(y - 0.5))
    s.paint("coffee", soft(0.296 - rho, 0.012) * soft(y - 0.5))
    across = (a + 0.08) * 0.34
    front = soft(np.cos(a)) * soft(0.36 - rho) * soft(0.7 - y)
    eyes = np.maximum(*(0.034 - np.hypot(across - k * 0.1, (y - 0.47) * 0.8) for k in (-1, 1)))
    smile = np.minimum(0.02 - np.abs(np.hypot(across, y - 0.42) - 0.145), 0.36 - y)
    face = soft(np.maximum(eyes, smile)) * front
    s.paint(ink, face)
    return s


# --- jar: round-bellied, with a steel lid and a knob


JAR = Lathe((
    (0, 0), (0.26, 0), (0.33, 0), (0.38, 0.04), (0.47, 0.2), (0.5, 0.32), (0.48, 0.46),
    (0.4, 0.58), (0.31, 0.635), (0.3, 0.66), (0.3, 0.665), (0.375, 0.665), (0.385, 0.675), (0.38, 0.71),
    (0.3, 0.77), (0.12, 0.81), (0.05, 0.82), (0.045, 0.835), (0.085, 0.87), (0.09, 0.9), (0.07, 0.94),
    (0, 0.945),
))  # fmt: skip


def paint_jar(x: Array, y: Array, z: Array, ink: str) -> Surface:
    s = blank(x)
    across = around(x, z) * 0.46
    label = np.hypot(across / 0.2, (y - 0.31) / 0.145)
    s.paint("accent", soft((1.1 - label) * 0.16) * soft(z))
    s.paint("cream", soft((1.0 - label) * 0.16) * soft(z))
    hx, hy = np.abs(across) / 0.085, (y - 0.32) / 0.085
    heart = 1 - (hx**2 + (1.2 * hy - 0.75 * np.sqrt(np.maximum(hx, 0.0))) ** 2)
    s.paint("body" if ink == "cream" else ink, soft(heart * 0.06) * soft(z))
    s.paint("steel", soft(y - 0.66))
    return s
