{#-
  CTEs up to `adjustments`, one row per window and method of `slots` (unadjusted, of dr_windows):
  adjust_factor (multiplicative, capped) and adjust_offset_kw (additive) from the slots of the
  adjustment window in which both actual and baseline are known; null_reason where there is none.
  Where the baseline is too small or the actual sum negative, the multiplicative adjustment falls
  back to the additive one (is_fallback): fallback_offset_kw is that offset, else 0.
-#}
{%- macro dr_adjustments(slots) -%}
adjustment_kinds as (
    {{ dr_adjustment_rows() }}
),

adjustment_sums as (
    select
        key_number,
        method,
        max(usual_kw) as usual_kw,
        max(adjust_until_us) as adjust_until_us,
        coalesce(min(first_touch_us) < -max(adjust_until_us), false) as is_touched,
        {{ count_where('is_in_window') }} as window_slots,
        count(case when is_in_window then actual_kw + baseline_kw end) as paired_slots,
        sum(case when is_in_window and baseline_kw is not null then actual_kw end) as actual_sum_kw,
        sum(case when is_in_window and actual_kw is not null then baseline_kw end)
            as baseline_sum_kw
    from (
        select
            *,
            phase = 'before' and slot_us < start_us - adjust_until_us as is_in_window
        from {{ slots }}
    ) as slots
    group by key_number, method
),

adjustment_judged as (
    select
        *,
        case
            when is_touched then 'adjustment_touches_event'
            when paired_slots < {{ number_var('dr_min_valid_share') }} * window_slots
                then 'adjustment_incomplete'
        end as null_reason,
        actual_sum_kw < 0
        or baseline_sum_kw / nullif(paired_slots, 0) < greatest(
            {{ number_var('dr_adjust_min_kw') }},
            {{ number_var('dr_adjust_min_share') }} * usual_kw
        ) as is_fallback
    from adjustment_sums
),

adjustments as (
    select
        key_number,
        method,
        null_reason,
        is_fallback,
        case
            when null_reason is null and not is_fallback
                then greatest(
                    {{ number_var('dr_adjust_factor_min') }},
                    least(
                        {{ number_var('dr_adjust_factor_max') }},
                        actual_sum_kw / nullif(baseline_sum_kw, 0)
                    )
                )
        end as adjust_factor,
        case
            when null_reason is null then (actual_sum_kw - baseline_sum_kw) / nullif(paired_slots, 0)
        end as adjust_offset_kw,
        case
            when null_reason is not null then null
            when is_fallback then (actual_sum_kw - baseline_sum_kw) / nullif(paired_slots, 0)
            else 0
        end as fallback_offset_kw
    from adjustment_judged
)
{%- endmacro -%}
