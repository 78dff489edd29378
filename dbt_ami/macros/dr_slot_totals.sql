{#-
  Power per slot, method and adjustment over all poles of `slots` (as dr_window_performance). One
  pole without a value leaves the slot without one; known_poles counts those that have a shed.
-#}
{%- macro dr_slot_totals(slots) -%}
select
    slot_ts,
    phase,
    method,
    adjustment,
    is_own_adjustment,
    count(*) as poles,
    count(shed_kw) as known_poles,
    case when count(baseline_kw) = count(*) then sum(baseline_kw) end as baseline_kw,
    case when count(actual_kw) = count(*) then sum(actual_kw) end as actual_kw,
    case when count(shed_kw) = count(*) then sum(shed_kw) end as shed_kw
from {{ slots }}
group by slot_ts, phase, method, adjustment, is_own_adjustment
{%- endmacro -%}
