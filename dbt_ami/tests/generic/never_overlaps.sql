{#-
  Rows whose span from `from_column` to `to_column` meets the span before it of the same `unit`.
  `inclusive`: the end belongs to the span.
-#}
{% test never_overlaps(model, unit, from_column, to_column, inclusive=false) %}
select *
from (
    select
        {{ unit }},
        {{ from_column }},
        {{ to_column }},
        lag({{ to_column }}) over (
            partition by {{ unit }} order by {{ from_column }}, {{ to_column }}
        ) as previous_to
    from {{ model }}
) as spans
where {{ from_column }} {{ '<=' if inclusive else '<' }} previous_to
{% endtest %}
