{#-
  The windows in which readings are stored, with a `version` that changes whenever the readings
  of the window do: `window_ts`, `version`. DuckDB: the hours of the lake and their committed file.
  BigQuery: the day partitions of the raw table; rows in the streaming buffer, which empties within
  90 minutes, change no partition yet, so a day counts as changed every time until it is two hours
  over.
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
                unix_micros(timestamp(parse_date('%Y%m%d', partition_id)))
                > unix_micros(current_timestamp()) - {{ (86400 + 7200) * 1000000 }}
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
