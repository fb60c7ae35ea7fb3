"""References that a model takes as images beside the prompt: it looks at them, and cannot weigh them.

Of a reference's settings only "used or not" is left (weight or scale 0: not used). What a request says beyond that is
answered in words. Knows no family.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from models.image.pixels import decode
from models.interfaces import AdapterSettings, Reference


def used_references(references: Sequence[Reference], settings: AdapterSettings) -> list[tuple[int, Reference]]:
    """The references that act at all, with their numbers from 1."""
    return [(n, reference) for n, reference in enumerate(references, 1) if settings.scale * reference.weight > 0]


def reference_images(references: Sequence[Reference], settings: AdapterSettings) -> dict[int, Image.Image]:
    """RGB pixels, in their own sizes, of the references that act, by their numbers from 1.

    Raises InvalidRequest for one that cannot be decoded.
    """
    return {n: decode(reference.image, f"reference {n}") for n, reference in used_references(references, settings)}


def reference_notes(references: Sequence[Reference], settings: AdapterSettings) -> tuple[str, ...]:
    """What the request asks of its references and the model cannot do."""
    used = used_references(references, settings)
    notes = [
        f"reference {n} acts in full, not with weight {reference.weight:g}: this model looks at references as images"
        " and cannot weigh them; weight 0 leaves one out"
        for n, reference in used
        if reference.weight < 1
    ]
    notes += [
        f"reference {n} is a style reference, which this model sees like any other image: say in the prompt what to"
        " take from it"
        for n, reference in used
        if reference.role == "style"
    ]
    if used and settings != AdapterSettings():
        given = {name: value for name, value in settings if value != getattr(AdapterSettings(), name)}
        words = ", ".join(f"{name} {value}" for name, value in given.items())
        notes.append(f"the adapter settings ({words}) had no effect: this model takes references without an adapter")
    return tuple(notes)
