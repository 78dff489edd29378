{{ config(partition_by=by_day('local_day', 'date'), cluster_by=['pole_id']) }}
with days as (
    select
        pole_id,
        day_number,
        day_type,
        row_number() over (
            order by pole_id, day_number
        ) as key_number
    from {{ ref('int_pole_days') }}
),

candidates as (
    {{ dr_candidates('days') }}
)

select
    candidates.pole_id,
    {{ date_of_day_number('(candidates.candidate_day_number + candidates.days_before)') }}
        as local_day,
    candidates.day_type,
    {{ date_of_day_number('candidates.candidate_day_number') }} as candidate_day,
    candidates.recency_rank,
    candidates.days_before,
    candidates.kwh as candidate_kwh
from candidates
