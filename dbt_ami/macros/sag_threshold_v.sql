{#- Voltage below which a meter of nominal voltage `nominal_v` is low, in V. -#}
{%- macro sag_threshold_v(nominal_v) -%}
{%- if var('sag_threshold_absolute') -%}
{{ number_var('sag_threshold_v') }}
{%- else -%}
({{ number_var('sag_threshold_v') }} * {{ nominal_v }} / {{ number_var('sag_threshold_base_v') }})
{%- endif -%}
{%- endmacro -%}
