{#-
  Whether two readings of an epoch lie as far apart on the clock as their `seq` says: within
  max(clock_tolerance_s, T/2). An unpowered meter does not count `seq` on, so its clock gap fails.
  Steps are later minus earlier, in samples and in microseconds; `interval_ms` is T in ms.
-#}
{%- macro clock_runs_on(seq_step, us_step, interval_ms) -%}
(
    abs(({{ us_step }}) - {{ samples_us(seq_step, interval_ms) }})
    <= greatest({{ us_var('clock_tolerance_s') }}, {{ interval_ms }} * 500)
)
{%- endmacro -%}
