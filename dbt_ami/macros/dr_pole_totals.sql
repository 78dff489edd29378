{#-
  Totals per event, pole, method and adjustment of `slots` (as dr_event_performance). Sums run over
  slots with both baseline and actual; under `dr_min_valid_share` of the slots they are NULL.
-#}
{%- macro dr_pole_totals(slots) -%}
select
    event_id,
    pole_id,
    method,
    adjustment,
    is_own_adjustment,
    event_slots,
    valid_slots,
    valid_slots / cast(event_slots as {{ type_double() }}) as coverage,
    case when is_valid then baseline_kwh end as baseline_kwh,
    case when is_valid then actual_kwh end as actual_kwh,
    case when is_valid then baseline_kwh - actual_kwh end as shed_kwh,
    case
        when is_valid and baseline_kwh > 0
            then 100 * (baseline_kwh - actual_kwh) / baseline_kwh
    end as shed_pct,
    rebound_slots,
    case
        when
            valid_rebound_slots
            >= {{ number_var('dr_min_valid_share') }} * nullif(rebound_slots, 0)
            then rebound_kwh
    end as rebound_kwh,
    adjust_factor,
    adjust_offset_kw,
    adjust_fallback,
    case when not is_valid then null_reason end as null_reason
from (
    select
        *,
        valid_slots >= {{ number_var('dr_min_valid_share') }} * event_slots as is_valid
    from (
        select
            event_id,
            pole_id,
            method,
            adjustment,
            is_own_adjustment,
            {{ count_where("phase = 'event'") }} as event_slots,
            {{ count_where("phase = 'event' and shed_kw is not null") }} as valid_slots,
            sum(case when phase = 'event' and shed_kw is not null then baseline_kw end) / 12
                as baseline_kwh,
            sum(case when phase = 'event' and shed_kw is not null then actual_kw end) / 12
                as actual_kwh,
            {{ count_where("phase = 'rebound'") }} as rebound_slots,
            {{ count_where("phase = 'rebound' and shed_kw is not null") }}
                as valid_rebound_slots,
            -sum(case when phase = 'rebound' then shed_kw end) / 12 as rebound_kwh,
            max(adjust_factor) as adjust_factor,
            max(adjust_offset_kw) as adjust_offset_kw,
            max(case when adjust_fallback then 1 else 0 end) = 1 as adjust_fallback,
            max(case when phase = 'event' then null_reason end) as null_reason
        from {{ slots }}
        group by event_id, pole_id, method, adjustment, is_own_adjustment
    ) as sums
) as judged
{%- endmacro -%}
