{#- First and last slot of day (0 to 287) of the var default_dr_window, as a pair. -#}
{%- macro dr_default_slots() -%}
{%- set clocks = var('default_dr_window').split('-') -%}
{%- set slots = [] -%}
{%- for clock in clocks -%}
{%- do slots.append(clock.split(':')[0] | int * 12 + clock.split(':')[1] | int // 5) -%}
{%- endfor -%}
{{ return((slots[0], slots[1] - 1)) }}
{%- endmacro -%}
