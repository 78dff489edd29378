{#-
  Columns of a voltage event, up to its scope, from a low run that is_sag_event with min_voltage_pu
  and `ended_by`.
-#}
{%- macro sag_event_columns() -%}
{{ text_hash(['meter_id', epoch_us('start_ts'), 'first_seq']) }} as event_id,
meter_id,
pole_id,
start_ts,
end_ts,
duration_s,
min_voltage_v,
voltage_sum_v / sample_count as mean_voltage_v,
min_voltage_pu,
sample_count,
missing_count,
case
    when
        sample_count * sample_interval_ms * 1000 >= {{ us_var('sag_min_duration_s') }}
        then 'observed'
    else 'inferred'
end as evidence,
sample_interval_ms * 1000 > {{ us_var('sag_min_duration_s') }} as coarse,
not begins_after_reading as truncated_start,
ended_by != 'recovery' as truncated_end,
ended_by,
ended_by = 'open' as is_open,
{{ sag_severity('min_voltage_pu', 'duration_s') }} as severity,
{{ ieee1159_low_class('min_voltage_pu', 'duration_s') }} as ieee1159_class
{%- endmacro -%}
