{#-
  Rows that break one of `rules`, SQL conditions on their columns, each with the first that it
  breaks. A condition that is NULL is kept. One query tells all of a model: each costs a start, and
  on BigQuery at least ten megabytes.
-#}
{% test keeps_rules(model, rules) %}
select
    case
    {%- for rule in rules %}
        when not ({{ rule | trim }})
            then {{ dbt.string_literal(dbt.escape_single_quotes(rule | trim)) }}
    {%- endfor %}
    end as broken_rule,
    *
from {{ model }}
where not (({{ rules | map('trim') | join(') and (') }}))
{% endtest %}
