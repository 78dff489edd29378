{#-
  Voltage above which a meter of nominal voltage `nominal_v` is high, in V: EN 50160's upper limit
  for its nominal voltage, ANSI C84.1's Range B maximum for every other.
-#}
{%- macro high_threshold_v(nominal_v) -%}
(case
    when {{ nominal_v }} = {{ number_var('en50160_nominal_voltage_v') }}
        then {{ nominal_v }} * (1 + {{ number_var('en50160_tolerance_pu') }})
    else
        {{ number_var('high_threshold_v') }}
        * {{ nominal_v }} / {{ number_var('sag_threshold_base_v') }}
end)
{%- endmacro -%}
