{#-
  Whether the RMS voltage `rms_v` is within ANSI C84.1 Range A (limits inclusive), or within
  EN 50160's ± 10 % for meters of its nominal voltage.
-#}
{%- macro within_voltage_limits(rms_v, nominal_v) -%}
(case
    when {{ follows_en50160(nominal_v) }}
        then
            abs({{ rms_v }} - {{ nominal_v }})
            <= {{ number_var('en50160_tolerance_pu') }} * {{ nominal_v }}
    else {{ ansi_range(rms_v, nominal_v) }} = 'a'
end)
{%- endmacro -%}
