{#-
  Rows whose span from `from_column` to `to_column` meets the span before it of the same `unit`.
  A span without an end goes on for ever. `inclusive`: the end belongs to the span.
-#}
{% test never_overlaps(model, unit, from_column, to_column, inclusive=false) %}
{%- set order = 'partition by ' ~ unit ~ ' order by ' ~ from_column ~ ', ' ~ to_column %}
select *
from (
    select
        {{ unit }},
        {{ from_column }},
        {{ to_column }},
        lag({{ to_column }}) over ({{ order }}) as previous_to,
        lag({{ from_column }}) over ({{ order }}) is not null as has_previous
    from {{ model }}
) as spans
where
    {{ from_column }} {{ '<=' if inclusive else '<' }} previous_to
    or (has_previous and previous_to is null)
{% endtest %}
