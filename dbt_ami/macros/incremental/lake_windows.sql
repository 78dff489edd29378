{#-
  The windows in which readings are stored, with a `version` that changes whenever the readings
  of the window do: `window_ts`, `version`. DuckDB: the hours of the lake and their committed file.
  BigQuery: the day partitions of the raw table; rows in the streaming buffer change no partition
  yet, so today and yesterday count as changed every time.
-#}
{%- macro lake_windows() -%}
{{ return(adapter.dispatch('lake_windows', 'ami')()) }}
{%- endmacro -%}

{%- macro default__lake_windows() -%}
{%- set raw = source('lake', 'raw_meter_readings') -%}
select
    timestamp(parse_date('%Y%m%d', partition_id)) as window_ts,
    concat(
        cast(total_rows as string),
        '@',
        cast(unix_micros(last_modified_time) as string),
        case
            when
                parse_date('%Y%m%d', partition_id)
                >= date_sub(current_date(), interval 1 day)
                then concat('@', cast(unix_micros(current_timestamp()) as string))
            else ''
        end
    ) as version
from `{{ raw.database }}`.`{{ raw.schema }}`.INFORMATION_SCHEMA.PARTITIONS
where table_name = '{{ raw.identifier }}' and regexp_contains(partition_id, r'^\d{8}$')
{%- endmacro -%}

{%- macro duckdb__lake_windows() -%}
select
    hour_ts as window_ts,
    version
from {{ source('lake', 'compacted_readings').incorporate(path={'identifier': 'hours'}) }}
{%- endmacro -%}
