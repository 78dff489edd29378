{#-
  What a window is over, for readings in the order of seq within each epoch of a meter. Whether the
  row before is of the same epoch has to be asked: DuckDB sorts all rows at once, which costs less
  than a sort for each epoch; BigQuery would bring them all to one worker, and partitions them.
-#}
{%- macro in_order_of_epochs(prefix='') -%}
{{ return(adapter.dispatch('in_order_of_epochs', 'ami')(prefix)) }}
{%- endmacro -%}

{%- macro default__in_order_of_epochs(prefix) -%}
partition by {{ prefix }}meter_id, {{ prefix }}epoch order by {{ prefix }}seq
{%- endmacro -%}

{%- macro duckdb__in_order_of_epochs(prefix) -%}
order by {{ prefix }}meter_id, {{ prefix }}epoch, {{ prefix }}seq
{%- endmacro -%}
