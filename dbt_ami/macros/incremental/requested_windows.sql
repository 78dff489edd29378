{#-
  The windows with readings that meet the span of `--event-time-start` and `--event-time-end` (UTC),
  in which a run is to restate everything whether or not it has changed: `window_ts`. None without
  these options.
-#}
{%- macro requested_windows() -%}
{%- set start = invocation_args_dict.get('event_time_start') -%}
{%- set end = invocation_args_dict.get('event_time_end') -%}
{%- if start and end -%}
{%- set epoch = modules.datetime.datetime(1970, 1, 1) -%}
{%- set start_us = ((start - epoch).total_seconds() | int) * 1000000 -%}
{%- set end_us = ((end - epoch).total_seconds() | int) * 1000000 -%}
select window_ts
from ({{ lake_windows() }}) as lake
where
    {{ epoch_us('window_ts') }} > {{ start_us - window_s() * 1000000 }}
    and {{ epoch_us('window_ts') }} < {{ end_us }}
{%- endif -%}
{%- endmacro -%}
