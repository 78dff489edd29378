{#- The incremental strategy `restate_windows` of DuckDB; see restated_by_window. -#}
{%- macro get_incremental_restate_windows_sql(arguments) -%}
{%- set meta = config.get('meta') -%}
{%- set columns = arguments['dest_columns'] | map(attribute='quoted') | join(', ') -%}
delete from {{ arguments['target_relation'] }}
where {{ in_windows(meta['time_column'], ref(meta['windows'])) }};

insert into {{ arguments['target_relation'] }} ({{ columns }})
select {{ columns }} from {{ arguments['temp_relation'] }}
{%- endmacro -%}
