{#-
  ANSI C84.1 service voltage range of the RMS voltage `rms_v` on the standard's 120 V base: `a`
  inside Range A, `b` inside Range B and outside A, else `out`. Limits are inclusive.
-#}
{%- macro ansi_range(rms_v, nominal_v) -%}
{%- set on_base = rms_v ~ ' * ' ~ number_var('ansi_base_v') ~ ' / ' ~ nominal_v -%}
(case
    when
        {{ on_base }}
        between {{ number_var('ansi_range_a_min_v') }} and {{ number_var('ansi_range_a_max_v') }}
        then 'a'
    when
        {{ on_base }}
        between {{ number_var('ansi_range_b_min_v') }} and {{ number_var('ansi_range_b_max_v') }}
        then 'b'
    else 'out'
end)
{%- endmacro -%}
