{#- Whether a reading with these flags was measured, neither estimated nor a placeholder. -#}
{%- macro is_received(flags) -%}
(not {{ has_flag(flags, 'estimated') }} and not {{ has_flag(flags, 'missing_sample') }})
{%- endmacro -%}
