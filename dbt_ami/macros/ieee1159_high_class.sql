{#- IEEE 1159 class of a high-voltage event by its highest voltage in pu and its duration in s. -#}
{%- macro ieee1159_high_class(max_pu, duration_s) -%}
case
    when {{ duration_s }} <= {{ number_var('ieee1159_momentary_s') }} then 'momentary_swell'
    when {{ duration_s }} <= {{ number_var('ieee1159_temporary_s') }} then 'temporary_swell'
    when {{ max_pu }} > {{ number_var('ieee1159_swell_severe_pu') }} then 'overvoltage_severe'
    else 'overvoltage'
end
{%- endmacro -%}
