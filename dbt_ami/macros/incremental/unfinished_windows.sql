{#- Windows that were noted for the list `list_name` and are not restated yet: `window_ts`. -#}
{%- macro unfinished_windows(list_name='int_landed_windows') -%}
{%- if is_building() -%}
(
    select distinct window_ts
    from {{ state_relation('unfinished_windows') }}
    where list_name = '{{ list_name }}'
)
{%- else -%}
(select {{ far_past() }} as window_ts)
{%- endif -%}
{%- endmacro -%}
