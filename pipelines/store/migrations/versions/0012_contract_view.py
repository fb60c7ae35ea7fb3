"""the contract's Generation with all of its columns, as the view `generation_contract`, for reports in SQL

A later migration that changes `generations` on SQLite drops the view first and makes it again afterwards.
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_SQLITE = """
create view generation_contract as
select
    g.id,
    g.user_id,
    json_extract(g.brief, '$.title') as title,
    json_extract(g.brief, '$.prompt') as prompt,
    json_extract(g.brief, '$.duration') as duration,
    json_extract(g.brief, '$.aspect_ratio') as aspect_ratio,
    g.status,
    g.progress,
    g.current_step,
    case when video.stage is not null then '/api/generations/' || g.id || '/video' end as video_path,
    case when video.stage is not null then '/api/generations/' || g.id || '/video' end as video_url,
    case when video.stage is not null then '/api/generations/' || g.id || '/thumbnail' end as thumbnail_url,
    case
        when json_extract(g.recipe, '$.name') = 'master' then 'master_mode'
        else coalesce(json_extract(g.brief, '$.framework'), json_extract(g.recipe, '$.framework'))
    end as framework,
    coalesce(
        json_array_length(g.given, '$.scenes.scenes'),
        json_array_length(scenes.value, '$.scenes'),
        json_extract(g.brief, '$.num_scenes')
    ) as num_scenes,
    cast(round((julianday(g.completed_at) - julianday(g.created_at)) * 86400) as integer) as generation_time_seconds,
    g.step_seconds / 3600 * json_extract(g.manifest, '$.device_hour_price') as cost,
    g.error_message,
    story.value as llm_specification,
    coalesce(scenes.value, json_extract(g.given, '$.scenes')) as scene_plan,
    (
        select json_group_array(
            json_object(
                'role', role, 'iteration', iteration, 'scene_number', scene_number, 'content', content,
                'score', score, 'timestamp', timestamp
            )
        )
        from (select * from messages where generation_id = g.id order by id)
    ) as llm_conversation_history,
    (
        select json_group_array('/api/generations/' || g.id || '/clips/' || scene_number)
        from (select scene_number from currents where generation_id = g.id and kind = 'clip' order by scene_number)
    ) as temp_clip_paths,
    json_extract(g.brief, '$.coherence') as coherence_settings,
    coalesce(json_extract(g.brief, '$.coherence.seed_value'), json_extract(g.brief, '$.seed')) as seed_value,
    g.cancellation_requested,
    json_extract(g.manifest, '$.models.video.name') as model,
    (select count(*) from currents where generation_id = g.id and kind = 'clip') as num_clips,
    json_type(g.given, '$.scenes') is null and exists (
        select 1 from json_each(g.recipe, '$.stages') where json_each.value in ('story', 'scenes')
    ) as use_llm,
    g.generation_group_id,
    g.parent_generation_id,
    g.created_at,
    g.completed_at
from generations as g
left join stage_outputs as story on story.generation_id = g.id and story.stage = 'story'
left join stage_outputs as scenes on scenes.generation_id = g.id and scenes.stage = 'scenes'
left join stage_outputs as video on video.generation_id = g.id and video.stage = 'stitch'
"""
_POSTGRESQL = """
create view generation_contract as
select
    g.id,
    g.user_id,
    g.brief->>'title' as title,
    g.brief->>'prompt' as prompt,
    cast(g.brief->>'duration' as integer) as duration,
    g.brief->>'aspect_ratio' as aspect_ratio,
    g.status,
    g.progress,
    g.current_step,
    case when video.stage is not null then '/api/generations/' || g.id || '/video' end as video_path,
    case when video.stage is not null then '/api/generations/' || g.id || '/video' end as video_url,
    case when video.stage is not null then '/api/generations/' || g.id || '/thumbnail' end as thumbnail_url,
    case
        when g.recipe->>'name' = 'master' then 'master_mode'
        else coalesce(g.brief->>'framework', g.recipe->>'framework')
    end as framework,
    coalesce(
        json_array_length(g.given #> '{scenes,scenes}'),
        json_array_length(scenes.value->'scenes'),
        cast(g.brief->>'num_scenes' as integer)
    ) as num_scenes,
    cast(round(extract(epoch from g.completed_at - g.created_at)) as integer) as generation_time_seconds,
    g.step_seconds / 3600 * cast(g.manifest->>'device_hour_price' as double precision) as cost,
    g.error_message,
    story.value as llm_specification,
    coalesce(scenes.value, g.given->'scenes') as scene_plan,
    coalesce(
        (
            select json_agg(
                json_build_object(
                    'role', role, 'iteration', iteration, 'scene_number', scene_number, 'content', content,
                    'score', score, 'timestamp', timestamp
                ) order by id
            )
            from messages where generation_id = g.id
        ),
        '[]'
    ) as llm_conversation_history,
    coalesce(
        (
            select json_agg('/api/generations/' || g.id || '/clips/' || scene_number order by scene_number)
            from currents where generation_id = g.id and kind = 'clip'
        ),
        '[]'
    ) as temp_clip_paths,
    g.brief->'coherence' as coherence_settings,
    cast(coalesce(g.brief #>> '{coherence,seed_value}', g.brief->>'seed') as bigint) as seed_value,
    g.cancellation_requested,
    g.manifest #>> '{models,video,name}' as model,
    (select count(*) from currents where generation_id = g.id and kind = 'clip') as num_clips,
    g.given->'scenes' is null and exists (
        select 1 from json_array_elements_text(g.recipe->'stages') as named where named in ('story', 'scenes')
    ) as use_llm,
    g.generation_group_id,
    g.parent_generation_id,
    g.created_at,
    g.completed_at
from generations as g
left join stage_outputs as story on story.generation_id = g.id and story.stage = 'story'
left join stage_outputs as scenes on scenes.generation_id = g.id and scenes.stage = 'scenes'
left join stage_outputs as video on video.generation_id = g.id and video.stage = 'stitch'
"""


def upgrade() -> None:
    op.execute(_POSTGRESQL if op.get_context().dialect.name == "postgresql" else _SQLITE)


def downgrade() -> None:
    op.execute("drop view generation_contract")
