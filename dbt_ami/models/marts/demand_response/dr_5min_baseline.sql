{{ restated_by_window('int_baseline_windows', 'slot_ts', ['pole_id']) }}
{%- set first_slot, last_slot = dr_default_slots() -%}
{%- set unlimited = [] -%}
{%- set limited = [] -%}
{%- set unlimited_columns = [] -%}
{%- set in_limited_pool = [] -%}
{%- set ranked_by_window = [] -%}
{%- for method, rule in var('dr_methods').items() -%}
    {%- if rule.kind == 'mean' and rule.pool_w >= var('dr_lookback_days') -%}
        {%- do unlimited.append(method) -%}
        {%- do unlimited_columns.append('unlimited_candidates.days_' ~ method) -%}
        {%- do unlimited_columns.append('unlimited_candidates.baseline_' ~ method) -%}
    {%- else -%}
        {%- do limited.append(method) -%}
        {%- do in_limited_pool.append('pool_' ~ method) -%}
    {%- endif -%}
    {%- do ranked_by_window.append("'" ~ method ~ "'") if rule.kind == 'high' -%}
{%- endfor -%}
{%- set candidates_s = (var('dr_lookback_days') + 1) * 86400 -%}
{%- set is_candidate_day = touched('day_ts', 'int_baseline_windows', margin_s=candidates_s) -%}
with days as (
    select
        pole_id,
        day_number,
        local_day,
        time_zone,
        day_type,
        row_number() over (
            order by pole_id, day_number
        ) as key_number
    from {{ ref('int_pole_days') }}
    where {{ touched('day_ts', 'int_baseline_windows', margin_s=86400) }}
),

candidates as (
    {{ dr_candidates('days') }}
),

day_window_kw as (
    select
        pole_id,
        day_number,
        avg(kw) as window_kw
    from {{ ref('int_dr_slot_values') }}
    where
        slot_of_day between {{ first_slot }} and {{ last_slot }}
        and {{ touched('day_ts', 'int_baseline_windows', margin_s=candidates_s) }}
    group by pole_id, day_number
),

window_kw as (
    select
        candidates.key_number,
        candidates.candidate_day_number,
        day_window_kw.window_kw
    from candidates
    inner join day_window_kw
        on
            candidates.pole_id = day_window_kw.pole_id
            and candidates.candidate_day_number = day_window_kw.day_number
),

{{ dr_picks('candidates', 'window_kw') }},

-- Nearly all candidates serve the methods without a limit alone: these few sums go by themselves.
recent_picks as (
    select *
    from picks
    where
        {{ in_limited_pool | join('\n        or ') }}
),

picked_slots as (
    {{ dr_picked_slots('picks', is_candidate_day) }}
),

recent_slots as (
    {{ dr_picked_slots('recent_picks', is_candidate_day) }}
),

unlimited_candidates as (
    {{ dr_slot_aggregates('picked_slots', ['key_number', 'slot_of_day'], unlimited) }}
),

limited_candidates as (
    {{ dr_slot_aggregates('recent_slots', ['key_number', 'slot_of_day'], limited) }}
),

dr_methods as (
    {{ dr_method_rows() }}
),

slots as (
    select
        days.pole_id,
        days.local_day,
        days.day_type,
        local_slots.slot_ts,
        {{ unlimited_columns | join(',\n        ') }},
        limited_candidates.*
    from days
    inner join {{ ref('int_local_slots') }} as local_slots
        on
            days.time_zone = local_slots.time_zone
            and days.day_number = local_slots.day_number
            and {{ touched('local_slots.slot_ts', 'int_baseline_windows') }}
    left join unlimited_candidates
        on
            days.key_number = unlimited_candidates.key_number
            and local_slots.slot_of_day = unlimited_candidates.slot_of_day
    left join limited_candidates
        on
            days.key_number = limited_candidates.key_number
            and local_slots.slot_of_day = limited_candidates.slot_of_day
),

baselines as (
    select
        slots.pole_id,
        slots.local_day,
        slots.slot_ts,
        dr_methods.method,
        coalesce({{ dr_by_method('days') }}, 0) as candidate_days,
        {{ dr_slot_baseline() }} as baseline_kw
    from slots
    cross join dr_methods
)

select
    pole_id,
    local_day,
    slot_ts,
    method,
    case
        when method in ({{ ranked_by_window | join(', ') }}) then '{{ var("default_dr_window") }}'
        else 'any'
    end as dr_window,
    baseline_kw,
    candidate_days,
    case when baseline_kw is null then 'insufficient_days' end as null_reason
from baselines
