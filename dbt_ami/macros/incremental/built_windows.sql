{#- Windows as the last complete build met them: `window_ts`, `version`. -#}
{%- macro built_windows() -%}
{%- if is_building() -%}
(select window_ts, version from {{ state_relation('windows') }})
{%- else -%}
(
    select
        {{ far_past() }} as window_ts,
        cast(null as {{ dbt.type_string() }}) as version
)
{%- endif -%}
{%- endmacro -%}
