{#- Microseconds that two half-open spans have in common, 0 when they do not meet. -#}
{%- macro overlap_us(from_a_us, to_a_us, from_b_us, to_b_us) -%}
greatest(0, least({{ to_a_us }}, {{ to_b_us }}) - greatest({{ from_a_us }}, {{ from_b_us }}))
{%- endmacro -%}
