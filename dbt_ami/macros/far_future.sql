{#- A timestamp after every reading: 9999-01-01. -#}
{%- macro far_future() -%}{{ timestamp_of_us(253370764800000000) }}{%- endmacro -%}
