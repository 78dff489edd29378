{#- IEEE 1159 class of a low-voltage event by its lowest voltage in pu and its duration in s. -#}
{%- macro ieee1159_low_class(min_pu, duration_s) -%}
case
    when {{ min_pu }} >= {{ number_var('ieee1159_sag_pu') }} then 'none'
    when {{ duration_s }} <= {{ number_var('ieee1159_temporary_s') }}
        then
            case
                when {{ duration_s }} <= {{ number_var('ieee1159_momentary_s') }}
                    then 'momentary_'
                else 'temporary_'
            end
            || case
                when {{ min_pu }} < {{ number_var('ieee1159_interruption_pu') }}
                    then 'interruption'
                else 'sag'
            end
    when {{ min_pu }} < {{ number_var('ieee1159_interruption_pu') }}
        then 'sustained_interruption'
    when {{ min_pu }} < {{ number_var('ieee1159_severe_pu') }} then 'undervoltage_severe'
    else 'undervoltage'
end
{%- endmacro -%}
