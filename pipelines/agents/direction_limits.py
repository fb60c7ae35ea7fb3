"""What the models of a profile cannot do of an owner's changes, and what they can instead."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.agents.direction_changes import Scope
from pipelines.direction import Changes

_I = re.IGNORECASE


def impossible(changes: Changes, scope: Scope) -> str | None:
    """Why the models cannot follow `changes`, and what they can; None when they can."""
    if changes.camera is not None and scope.camera_moves is not None and changes.camera not in scope.camera_moves:
        moves = ", ".join(move.replace("_", " ") for move in scope.camera_moves)
        return f"This video model knows no move '{changes.camera.replace('_', ' ')}': choose one of {moves}."
    domain = scope.domain
    if domain is None:
        return None
    if changes.setting is not None and _kind(changes.setting, domain.settings) is None:
        return (
            f"These models cannot draw '{changes.setting}': they know "
            f"{listed(tuple(domain.settings_as_said.values()))}. A profile with "
            "large models may draw it."
        )
    if (product := changes.product) is not None:
        known = (("colour", product.colour, domain.colours), ("material", product.material, domain.materials))
        for what, value, words in known:
            if value is not None and _kind(value, words) is None:
                return f"These models cannot draw the {what} '{value}': they know {listed(tuple(words))}."
        if product.name is not None and product.name.islower() and _kind(product.name, domain.products) is None:
            return f"These models cannot draw '{product.name}': they know {listed(tuple(domain.products))}."
    thing = changes.add or changes.remove
    if thing is not None:
        verb = "add" if changes.add else "take out"
        return (
            f"No, I cannot {verb} '{thing}': these models draw one product in one place "
            f"({listed(tuple(domain.products))}), nothing beside "
            "it. A profile with large models may do it. Nothing was changed."
        )
    return None


def _kind(phrase: str, words: dict[str, tuple[str, ...]]) -> str | None:
    names = [(name, kind) for kind, several in words.items() for name in (kind, *several)]
    for name, kind in sorted(names, key=lambda one: -len(one[0])):
        if re.search(rf"\b{re.escape(name)}(?:s|es)?\b", phrase, _I):
            return kind
    for name, kind in names:  # `in a snowy landscape`
        if len(name) > 3 and re.search(rf"\b{re.escape(name)}", phrase, _I):
            return kind
    return None


def listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
