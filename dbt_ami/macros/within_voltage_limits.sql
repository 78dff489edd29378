{#-
  Whether the RMS voltage `rms_v` is within ANSI C84.1 Range A (limits inclusive), or within
  EN 50160's ± 10 % for meters of its nominal voltage.
-#}
{%- macro within_voltage_limits(rms_v, nominal_v) -%}
(case
    when {{ nominal_v }} = {{ number_var('en50160_nominal_voltage_v') }}
        then
            abs({{ rms_v }} - {{ nominal_v }})
            <= {{ number_var('en50160_tolerance_pu') }} * {{ nominal_v }}
    else
        {{ rms_v }} * {{ number_var('ansi_base_v') }} / {{ nominal_v }}
        between {{ number_var('ansi_range_a_min_v') }} and {{ number_var('ansi_range_a_max_v') }}
end)
{%- endmacro -%}
