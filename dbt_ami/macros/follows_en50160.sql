{#- Whether a meter of this nominal voltage is judged by EN 50160 instead of ANSI C84.1. -#}
{%- macro follows_en50160(nominal_v) -%}
({{ nominal_v }} = {{ number_var('en50160_nominal_voltage_v') }})
{%- endmacro -%}
