"""The answer of both critics. The score decides on approval; a model's own verdict would only contradict it.

Reasons come before the score, so that a model that writes left to right scores what it has found.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipelines.agents.conversation import Answer, Line, Point
from pipelines.story import Critique

Points = Annotated[tuple[Point, ...], Field(max_length=2)]


class CritiqueAnswer(Answer):
    """A critique as a model writes it; `Critique` is what becomes of it."""

    strengths: Points
    improvements: Points
    priority_fixes: Points
    critique: Line
    overall_score: Annotated[int, Field(ge=0, le=100)]

    def text(self) -> str:
        fixes = f" Fix first: {' '.join(self.priority_fixes)}" if self.priority_fixes else ""
        return f"{self.critique}{fixes}"

    def score(self) -> float:
        return float(self.overall_score)

    def judged(self, approve_at: float) -> Critique:
        """The contract's critique: approved exactly when the score reaches `approve_at`."""
        return Critique(
            approval_status="approved" if self.overall_score >= approve_at else "needs_revision",
            overall_score=self.overall_score,
            critique=self.critique,
            strengths=self.strengths,
            improvements=self.improvements,
            priority_fixes=self.priority_fixes,
        )
