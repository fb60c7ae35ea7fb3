"""The lane of a replica's device. On a CPU, models give way to what answers callers on the same cores."""

from __future__ import annotations

from pipelines.lanes import Lane

CPU_NICENESS = 5
"""A third of the share of a thread that answers, when both want one core. On a GPU the lane's thread feeds the device:
there it must not wait.
"""


def device_lane(device: str) -> Lane:
    """`device`: cpu or cuda."""
    return Lane(device, CPU_NICENESS if device == "cpu" else 0)
