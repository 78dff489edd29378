{#-
  `picks` (pole_id, candidate_day_number, …) with one row per slot_of_day of the candidate and its
  kw, from int_dr_slot_values; `is_candidate_day` says of its day_ts which days to read.
-#}
{%- macro dr_picked_slots(picks, is_candidate_day) -%}
{{ return(adapter.dispatch('dr_picked_slots', 'ami')(picks, is_candidate_day)) }}
{%- endmacro -%}
{%- macro default__dr_picked_slots(picks, is_candidate_day) -%}
select
    picks.*,
    slots.slot_of_day,
    slots.kw
from {{ picks }} as picks
inner join {{ ref('int_dr_slot_values') }} as slots
    on picks.pole_id = slots.pole_id and picks.candidate_day_number = slots.day_number
where {{ is_candidate_day }}
{%- endmacro -%}
{#-
  DuckDB builds its join on the smaller side, which would hand out the rows by candidate and let the
  groups of a later `group by` spill over and over. With the days as lists it keeps the order of the
  keys, so that a group is complete as soon as it is seen.
-#}
{%- macro duckdb__dr_picked_slots(picks, is_candidate_day) -%}
select
    picks.*,
    unnest(days.slots_of_day) as slot_of_day,
    unnest(days.kws) as kw
from (
    select *
    from {{ picks }}
    order by key_number
) as picks
inner join (
    select
        pole_id,
        day_number,
        list(slot_of_day) as slots_of_day,
        list(kw) as kws
    from {{ ref('int_dr_slot_values') }}
    where {{ is_candidate_day }}
    group by pole_id, day_number
) as days
    on picks.pole_id = days.pole_id and picks.candidate_day_number = days.day_number
{%- endmacro -%}
