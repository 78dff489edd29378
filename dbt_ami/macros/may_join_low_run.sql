{#-
  Whether two neighbouring low readings of an epoch may belong to one low run: at most
  `sag_max_gap_s` of samples between them, and the clock runs on. That no reading was observed
  between them is for the caller to verify.
-#}
{%- macro may_join_low_run(seq_step, us_step, interval_ms) -%}
(
    {{ samples_us('(' ~ seq_step ~ ') - 1', interval_ms) }} <= {{ us_var('sag_max_gap_s') }}
    and {{ clock_runs_on(seq_step, us_step, interval_ms) }}
)
{%- endmacro -%}
