{#-
  Totals per event, method and adjustment over the poles of `summaries` (as dr_event_summary). One
  pole without a total leaves the event without one, and `unknown_poles` names it.
-#}
{%- macro dr_event_totals(summaries) -%}
select
    event_id,
    method,
    adjustment,
    is_own_adjustment,
    poles,
    unknown_poles,
    baseline_kwh,
    actual_kwh,
    shed_kwh,
    case when baseline_kwh > 0 then 100 * shed_kwh / baseline_kwh end as shed_pct,
    rebound_kwh
from (
    select
        event_id,
        method,
        adjustment,
        is_own_adjustment,
        count(*) as poles,
        string_agg(
            case when shed_kwh is null then pole_id end, ', '
            order by case when shed_kwh is null then pole_id end
        ) as unknown_poles,
        case when count(shed_kwh) = count(*) then sum(baseline_kwh) end as baseline_kwh,
        case when count(shed_kwh) = count(*) then sum(actual_kwh) end as actual_kwh,
        case when count(shed_kwh) = count(*) then sum(shed_kwh) end as shed_kwh,
        case when count(rebound_kwh) = count(*) then sum(rebound_kwh) end as rebound_kwh
    from {{ summaries }}
    group by event_id, method, adjustment, is_own_adjustment
) as sums
{%- endmacro -%}
