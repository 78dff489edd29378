{#-
  Candidate days of every row of `keys` (key_number, pole_id, day_number, day_type): the eligible
  days of its pole and type in the `dr_lookback_days` before it, recency_rank 1 the most recent.
-#}
{%- macro dr_candidates(keys) -%}
select
    keys.key_number,
    keys.pole_id,
    keys.day_type,
    days.day_number as candidate_day_number,
    keys.day_number - days.day_number as days_before,
    row_number() over (partition by keys.key_number order by days.day_number desc)
        as recency_rank,
    days.kwh,
    days.absolute_kw_sum,
    days.valid_slots
from {{ keys }} as keys
inner join {{ ref('int_pole_days') }} as days
    on
        keys.pole_id = days.pole_id
        and keys.day_type = days.day_type
        and days.day_number < keys.day_number
        and days.day_number >= keys.day_number - {{ var('dr_lookback_days') }}
where days.is_eligible
{%- endmacro -%}
