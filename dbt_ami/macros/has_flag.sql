{#- Whether `flag_text`, quality flags joined by commas (NULL: none), names `flag`. -#}
{%- macro has_flag(flag_text, flag) -%}
(
    coalesce({{ flag_text }}, '') != ''
    and strpos(concat(',', {{ flag_text }}, ','), ',{{ flag }},') > 0
)
{%- endmacro -%}
