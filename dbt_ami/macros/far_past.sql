{#- A timestamp before every reading. -#}
{%- macro far_past() -%}{{ timestamp_of_us(0) }}{%- endmacro -%}
