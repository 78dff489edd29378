{#-
  Rows of `columns` that stand in only one of `relation` and `before`, two queries with these
  columns and without repeated rows.
-#}
{%- macro changed_rows(relation, before, columns) -%}
select {{ columns | join(', ') }}
from (
    select {{ columns | join(', ') }} from {{ relation }}
    union all
    select {{ columns | join(', ') }} from {{ before }} as built
) as both_states
group by {{ columns | join(', ') }}
having count(*) = 1
{%- endmacro -%}
