"""Everything there is to say about one generation, as the command line writes it into `run.json`. Reads rows only."""

from __future__ import annotations

from pipelines.report.collect import collect
from pipelines.report.record import RunRecord
from pipelines.stages.registry import STAGES
from pipelines.stages.state import RunState
from serving.gateway.services import Services


async def run_record(used: Services, user: str, generation_id: str) -> RunRecord:
    """As far as it is made. Raises NotFound."""
    generation = await used.store.get(user, generation_id)
    made = {STAGES[stage].makes: output for stage, output in (await used.store.outputs(generation_id)).items()}
    state = RunState.model_validate({**generation.given, **made})
    return await collect(used.store, user, generation_id, state)
