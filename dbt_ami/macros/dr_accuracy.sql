{#-
  Placebo accuracy per reference, pole, method and adjustment, from `hours` (reference_id, pole_id,
  method, adjustment, window_id, baseline_kw, actual_kw), hourly means pooled over all days:
  RRMSE = √mean((baseline - actual)²)/mean(actual), bias = Σ(baseline - actual)/Σactual.
-#}
{%- macro dr_accuracy(hours) -%}
select
    reference_id,
    pole_id,
    method,
    adjustment,
    placebo_days,
    placebo_hours,
    mean_actual_kw,
    case when mean_actual_kw > 0 then rmse_kw / mean_actual_kw end as rrmse,
    case when mean_actual_kw > 0 then mean_error_kw / mean_actual_kw end as bias,
    case
        when
            placebo_days < {{ var('dr_accuracy_min_days') }}
            or coalesce(mean_actual_kw, 0) <= {{ number_var('dr_accuracy_min_kw') }}
            then 'not_assessable'
        when rmse_kw <= {{ number_var('dr_accuracy_max_rrmse') }} * mean_actual_kw then 'pass'
        else 'fail'
    end as gate
from (
    select
        reference_id,
        pole_id,
        method,
        adjustment,
        count(distinct window_id) as placebo_days,
        count(window_id) as placebo_hours,
        avg(actual_kw) as mean_actual_kw,
        avg(baseline_kw - actual_kw) as mean_error_kw,
        sqrt(avg((baseline_kw - actual_kw) * (baseline_kw - actual_kw))) as rmse_kw
    from {{ hours }}
    group by reference_id, pole_id, method, adjustment
) as pooled
{%- endmacro -%}
