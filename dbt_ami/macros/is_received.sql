{#- Whether a reading with these flags was measured, neither estimated nor a placeholder. -#}
{%- macro is_received(flag_text) -%}
(not {{ has_flag(flag_text, 'estimated') }} and not {{ has_flag(flag_text, 'missing_sample') }})
{%- endmacro -%}
