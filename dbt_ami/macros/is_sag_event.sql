{#-
  Whether a low run of `span_samples` is an event: it lasts `sag_min_duration_s`. A run of several
  samples begins and ends with a low reading, so it always holds two; one sample is an event only
  where it covers the duration alone.
-#}
{%- macro is_sag_event(span_samples, interval_ms) -%}
({{ span_samples }} * {{ interval_ms }} * 1000 >= {{ us_var('sag_min_duration_s') }})
{%- endmacro -%}
