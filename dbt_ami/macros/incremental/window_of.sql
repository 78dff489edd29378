{#- Start of the window that holds `timestamp`. -#}
{%- macro window_of(timestamp) -%}{{ floor_time(timestamp, window_s()) }}{%- endmacro -%}
