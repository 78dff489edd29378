{#- Hash of the expressions `parts` as 32 hex digits, the same on every warehouse. -#}
{%- macro text_hash(parts) -%}
{{ return(adapter.dispatch('text_hash', 'ami')(parts)) }}
{%- endmacro -%}
{%- macro default__text_hash(parts) -%}to_hex(md5({{ joined_text(parts) }})){%- endmacro -%}
{%- macro duckdb__text_hash(parts) -%}md5({{ joined_text(parts) }}){%- endmacro -%}
