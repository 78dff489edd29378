{#-
  What ended the low run `run` (a relation of low_runs): its recovery, an outage, nothing yet (open:
  the meter's newest reading is in it and the watermark little later), or readings that never came
  (gap). `newest_ts` is the meter's newest received reading.
-#}
{%- macro sag_ended_by(run, newest_ts, watermark_ts) -%}
case
    when {{ run }}.ends_before_reading then 'recovery'
    when {{ run }}.ends_in_outage then 'outage'
    when
        {{ newest_ts }} <= {{ run }}.end_ts
        and {{ epoch_us(watermark_ts) }} - {{ epoch_us(run ~ '.end_ts') }}
        <= {{ run }}.sample_interval_ms * 1000 + {{ us_var('late_after_s') }}
        then 'open'
    else 'gap'
end
{%- endmacro -%}
