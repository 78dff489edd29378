{#-
  Whether the RMS voltage `rms_v` is within EN 50160's limits for all intervals of a week,
  + 10 % and - 15 %, inclusive.
-#}
{%- macro within_en50160_wide_limits(rms_v, nominal_v) -%}
(
    {{ rms_v }} - {{ nominal_v }} <= {{ number_var('en50160_tolerance_pu') }} * {{ nominal_v }}
    and {{ nominal_v }} - {{ rms_v }}
    <= {{ number_var('en50160_wide_low_tolerance_pu') }} * {{ nominal_v }}
)
{%- endmacro -%}
