{#- Whether a reading came later than `late_after_s` after it was measured. -#}
{%- macro is_late(event_ts, ingest_ts) -%}
({{ epoch_us(ingest_ts) }} - {{ epoch_us(event_ts) }} > {{ us_var('late_after_s') }})
{%- endmacro -%}
