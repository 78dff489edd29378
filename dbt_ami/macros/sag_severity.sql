{#- Severity of an event by its lowest voltage in pu and its duration in s. -#}
{%- macro sag_severity(min_pu, duration_s) -%}
case
    when {{ min_pu }} < {{ number_var('severity_critical_pu') }} then 'critical'
    when
        {{ min_pu }} < {{ number_var('severity_major_pu') }}
        and {{ duration_s }} > {{ number_var('severity_long_s') }} then 'critical'
    when
        {{ min_pu }} < {{ number_var('severity_major_pu') }}
        or {{ duration_s }} > {{ number_var('severity_long_s') }} then 'major'
    else 'minor'
end
{%- endmacro -%}
