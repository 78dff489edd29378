{#-
  Longest time without a reading of a meter with a sample interval of `interval_ms` that is no loss
  of communication, in microseconds: comm_loss_min_s, and for slow meters less than two samples.
-#}
{%- macro silence_limit_us(interval_ms) -%}
greatest({{ us_var('comm_loss_min_s') }}, 1500 * {{ interval_ms }})
{%- endmacro -%}
