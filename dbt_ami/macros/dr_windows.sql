{#-
  CTEs that compute demand response over any windows: `windows` (window_id, pole_id, start_ts,
  end_ts, aligned to 5 minutes) in; out `dr_slots`, one row per window, DR method, adjustment and
  5-minute slot from the start of the adjustment window on (phase `before`, `event`, `rebound`).

  Candidate days are matched by local wall clock with the day offset from the window's first day, so
  a skipped hour finds no value on the candidate and a repeated one serves twice. `with_rebound`:
  go on after the end for `dr_rebound_s`, cut at the next event. For models that are restated by
  int_baseline_windows; a table function says with `span`, the instants from and to which its
  windows go, what to read.
-#}
{%- macro dr_windows(windows, with_rebound=true, span=none) -%}
{%- set slot_us = 300000000 -%}
{%- set day_us = 86400000000 -%}
{%- set adjust_us = us_var('dr_adjust_from_s') -%}
window_bounds as (
    select
        windows.window_id,
        windows.pole_id,
        zones.time_zone,
        {{ epoch_us('windows.start_ts') }} as start_us,
        {{ epoch_us('windows.end_ts') }} as end_us,
        {{ int_div(local_us('windows.start_ts', 'zones.time_zone'), day_us) }} as day_number,
        row_number() over (order by windows.window_id, windows.pole_id) as key_number
    from {{ windows }} as windows
    inner join {{ ref('int_pole_time_zones') }} as zones on windows.pole_id = zones.pole_id
),

next_events as (
    select
        window_bounds.key_number,
        min({{ epoch_us('events.start_ts') }}) as next_start_us
    from window_bounds
    inner join {{ ref('int_dr_event_poles') }} as events
        on
            window_bounds.pole_id = events.pole_id
            and window_bounds.end_us <= {{ epoch_us('events.start_ts') }}
    group by window_bounds.key_number
),

-- By method, because the adjustment window of NYISO ends earlier.
touched_adjustments as (
    select
        window_bounds.key_number,
        min({{ epoch_us('events.start_ts') }} - window_bounds.start_us) as first_touch_us
    from window_bounds
    inner join {{ ref('int_dr_event_poles') }} as events
        on
            window_bounds.pole_id = events.pole_id
            and window_bounds.start_us - {{ adjust_us }} < {{ epoch_us('events.rebound_end_ts') }}
            and {{ epoch_us('events.start_ts') }} < window_bounds.start_us
    group by window_bounds.key_number
),

window_keys as (
    select
        bounds.key_number,
        bounds.window_id,
        bounds.pole_id,
        bounds.time_zone,
        bounds.start_us,
        bounds.end_us,
        bounds.day_number,
        touched_adjustments.first_touch_us,
        {{ day_type('bounds.day_number', '(holidays.time_zone is not null)') }} as day_type,
        {% if with_rebound -%}
        least(
            bounds.end_us + {{ us_var('dr_rebound_s') }},
            coalesce(next_events.next_start_us, bounds.end_us + {{ us_var('dr_rebound_s') }})
        )
        {%- else -%}
        bounds.end_us
        {%- endif %} as last_us
    from window_bounds as bounds
    left join next_events on bounds.key_number = next_events.key_number
    left join touched_adjustments on bounds.key_number = touched_adjustments.key_number
    left join {{ ref('int_zone_holidays') }} as holidays
        on
            bounds.time_zone = holidays.time_zone
            and bounds.day_number = holidays.day_number
),

window_slots as (
    {{ explode_range(
        'window_keys',
        int_div('start_us - ' ~ adjust_us, slot_us),
        int_div('last_us', slot_us) ~ ' - 1',
        'slot_number'
    ) }}
),

timed_slots as (
    select
        key_number,
        window_id,
        pole_id,
        day_type,
        start_us,
        first_touch_us,
        day_number,
        slot_number,
        {{ timestamp_of_us('slot_number * ' ~ slot_us) }} as slot_ts,
        {{ local_us(timestamp_of_us('slot_number * ' ~ slot_us), 'time_zone') }} as wall_us,
        case
            when slot_number * {{ slot_us }} < start_us then 'before'
            when slot_number * {{ slot_us }} < end_us then 'event'
            else 'rebound'
        end as phase
    from window_slots
),

wall_slots as (
    select
        *,
        {{ int_div('wall_us', day_us) }} - day_number as day_offset,
        {{ int_div('mod(wall_us, ' ~ day_us ~ ')', slot_us) }} as slot_of_day
    from timed_slots
),

candidates as (
    {{ dr_candidates('window_keys') }}
),

-- A window over midnight keeps the days between its slots and its first day.
day_offsets as (
    select distinct
        key_number,
        day_offset
    from wall_slots
),

candidate_dates as (
    select
        candidates.key_number,
        candidates.pole_id,
        candidates.candidate_day_number,
        day_offsets.day_offset,
        candidates.candidate_day_number + day_offsets.day_offset as value_day_number
    from candidates
    inner join day_offsets on candidates.key_number = day_offsets.key_number
),

candidate_values as (
    select
        dates.key_number,
        dates.candidate_day_number,
        wall_slots.slot_number,
        wall_slots.phase,
        slot_values.kw
    from candidate_dates as dates
    inner join wall_slots
        on
            dates.key_number = wall_slots.key_number
            and dates.day_offset = wall_slots.day_offset
    inner join {{ ref('int_dr_slot_values') }} as slot_values
        on
            dates.pole_id = slot_values.pole_id
            and dates.value_day_number = slot_values.day_number
            and wall_slots.slot_of_day = slot_values.slot_of_day
    where {{ dr_reach('slot_values.day_ts', (var('dr_lookback_days') + 3) * 86400, span) }}
),

window_kw as (
    select
        key_number,
        candidate_day_number,
        avg(kw) as window_kw
    from candidate_values
    where phase = 'event'
    group by key_number, candidate_day_number
),

{{ dr_picks('candidates', 'window_kw') }},

slot_picks as (
    select
        picks.*,
        candidate_values.slot_number,
        candidate_values.kw
    from candidate_values
    inner join picks
        on
            candidate_values.key_number = picks.key_number
            and candidate_values.candidate_day_number = picks.candidate_day_number
),

slot_candidates as (
    {{ dr_slot_aggregates('slot_picks', ['key_number', 'slot_number'], var('dr_methods').keys()) }}
),

-- What the methods call small: a share of the mean |kW| of their candidate days.
usual_loads as (
    select
        key_number
        {%- for method in var('dr_methods') %},
        sum(case when pool_{{ method }} then absolute_kw_sum end)
        / sum(case when pool_{{ method }} then valid_slots end) as usual_kw_{{ method }}
        {%- endfor %}
    from picks
    group by key_number
),

dr_methods as (
    {{ dr_method_rows() }}
),

unadjusted as (
    select
        wall_slots.key_number,
        wall_slots.window_id,
        wall_slots.pole_id,
        wall_slots.slot_ts,
        wall_slots.phase,
        wall_slots.day_offset,
        wall_slots.slot_of_day,
        wall_slots.start_us,
        wall_slots.slot_number * {{ slot_us }} as slot_us,
        wall_slots.first_touch_us,
        dr_methods.method,
        actuals.dr_power_kw as actual_kw,
        coalesce({{ dr_by_method('days') }}, 0) as candidate_days,
        {{ dr_by_method('usual_kw') }} as usual_kw,
        {{ dr_slot_baseline() }} as baseline_kw,
        case method
            {%- for method, rule in var('dr_methods').items() %}
            when '{{ method }}' then {{ (rule.adjust_until_s * 1000000) | int }}
            {%- endfor %}
        end as adjust_until_us
    from wall_slots
    cross join dr_methods
    left join slot_candidates
        on
            wall_slots.key_number = slot_candidates.key_number
            and wall_slots.slot_number = slot_candidates.slot_number
    left join usual_loads on wall_slots.key_number = usual_loads.key_number
    left join {{ ref('v_5min_pole') }} as actuals
        on
            wall_slots.pole_id = actuals.pole_id
            and wall_slots.slot_ts = actuals.slot_ts
            and {{ dr_reach('actuals.slot_ts', 2 * 86400, span) }}
),

{{ dr_adjustments('unadjusted') }},

dr_slots as (
    select
        unadjusted.window_id,
        unadjusted.pole_id,
        unadjusted.method,
        kinds.adjustment,
        unadjusted.slot_ts,
        unadjusted.phase,
        unadjusted.day_offset,
        unadjusted.slot_of_day,
        unadjusted.candidate_days,
        unadjusted.actual_kw,
        case kinds.adjustment
            when 'none' then unadjusted.baseline_kw
            when 'multiplicative'
                then unadjusted.baseline_kw * coalesce(adjustments.adjust_factor, 1)
                    + adjustments.fallback_offset_kw
            else unadjusted.baseline_kw + adjustments.adjust_offset_kw
        end as baseline_kw,
        case
            when kinds.adjustment = 'multiplicative' then adjustments.adjust_factor
        end as adjust_factor,
        case kinds.adjustment
            when 'additive' then adjustments.adjust_offset_kw
            when 'multiplicative'
                then case when adjustments.is_fallback then adjustments.adjust_offset_kw end
        end as adjust_offset_kw,
        kinds.adjustment = 'multiplicative' and coalesce(adjustments.is_fallback, false)
            as adjust_fallback,
        case
            when unadjusted.baseline_kw is null then 'insufficient_days'
            when kinds.adjustment != 'none' and adjustments.null_reason is not null
                then adjustments.null_reason
            when unadjusted.actual_kw is null then 'no_actual'
        end as null_reason
    from unadjusted
    inner join adjustments
        on
            unadjusted.key_number = adjustments.key_number
            and unadjusted.method = adjustments.method
    cross join adjustment_kinds as kinds
)
{%- endmacro -%}
