{#-
  CTEs up to `picks`: the rows of the CTE `candidates` (of dr_candidates) with, per DR method, the
  booleans pool_<method> (candidate of the method) and use_<method> (averaged in its baseline).
  `window_kw` (key_number, candidate_day_number, window_kw) is each candidate's mean power in the
  window, by which the high-of methods rank.

  Replacement (var dr_replacement_share): while the lowest candidate of a high-of pool is under
  that share of the pool's positive mean, it gives way to the next older day. As it is always the
  lowest that goes, the pool after looking back to the r-th day is that day and the highest
  pool - 1 of the more recent ones, so that all stages are known without iterating.
-#}
{%- macro dr_picks(candidates, window_kw) -%}
{%- set methods = var('dr_methods') -%}
{%- set share = number_var('dr_replacement_share') -%}
high_sizes as (
    {%- for method, rule in methods.items() if rule.kind == 'high' %}
    select
        '{{ method }}' as method,
        'W' as day_type,
        {{ rule.pool_w }} as pool_size,
        {{ rule.used_w }} as used_size
    union all
    select
        '{{ method }}' as method,
        'E' as day_type,
        {{ rule.pool_e }} as pool_size,
        {{ rule.used_e }} as used_size
    {{ 'union all' if not loop.last }}
    {%- endfor %}
),

high_ranked as (
    select
        candidates.key_number,
        candidates.candidate_day_number,
        high_sizes.method,
        high_sizes.pool_size,
        high_sizes.used_size,
        windows.window_kw,
        row_number() over (
            partition by candidates.key_number, high_sizes.method
            order by candidates.recency_rank
        ) as place
    from {{ candidates }} as candidates
    inner join {{ window_kw }} as windows
        on
            candidates.key_number = windows.key_number
            and candidates.candidate_day_number = windows.candidate_day_number
    inner join high_sizes on candidates.day_type = high_sizes.day_type
),

high_first as (
    select
        key_number,
        method,
        max(pool_size) as pool_size,
        max(place) as last_place,
        avg(case when place <= pool_size then window_kw end) as mean_kw,
        min(case when place <= pool_size then window_kw end) as least_kw
    from high_ranked
    group by key_number, method
),

high_replacing as (
    select *
    from high_first
    where mean_kw > 0 and least_kw < {{ share }} * mean_kw and last_place > pool_size
),

high_stages as (
    {{ explode_range('high_replacing', 'pool_size + 1', 'last_place', 'stage') }}
),

high_stage_members as (
    select
        stages.key_number,
        stages.method,
        stages.pool_size,
        stages.last_place,
        stages.stage,
        ranked.candidate_day_number,
        ranked.window_kw
    from high_stages as stages
    inner join high_ranked as ranked
        on
            stages.key_number = ranked.key_number
            and stages.method = ranked.method
            and stages.stage >= ranked.place
    qualify
        row_number() over (
            partition by stages.key_number, stages.method, stages.stage
            order by
                case when ranked.place = stages.stage then 0 else 1 end,
                ranked.window_kw desc,
                ranked.place asc
        ) <= stages.pool_size
),

high_settled as (
    select
        key_number,
        method,
        min(stage) as stage
    from (
        select
            key_number,
            method,
            stage
        from high_stage_members
        group by key_number, method, stage
        having
            avg(window_kw) <= 0
            or min(window_kw) >= {{ share }} * avg(window_kw)
            or stage = max(last_place)
    ) as settled
    group by key_number, method
),

high_pool as (
    select
        ranked.key_number,
        ranked.method,
        ranked.candidate_day_number
    from high_ranked as ranked
    left join high_replacing as replacing
        on ranked.key_number = replacing.key_number and ranked.method = replacing.method
    where ranked.place <= ranked.pool_size and replacing.key_number is null
    union all
    select
        members.key_number,
        members.method,
        members.candidate_day_number
    from high_stage_members as members
    inner join high_settled as settled
        on
            members.key_number = settled.key_number
            and members.method = settled.method
            and members.stage = settled.stage
),

high_picks as (
    select
        ranked.key_number,
        ranked.method,
        ranked.candidate_day_number,
        row_number() over (
            partition by ranked.key_number, ranked.method
            order by ranked.window_kw desc, ranked.place asc
        ) <= ranked.used_size as is_used
    from high_ranked as ranked
    inner join high_pool
        on
            ranked.key_number = high_pool.key_number
            and ranked.method = high_pool.method
            and ranked.candidate_day_number = high_pool.candidate_day_number
),

pooled as (
    select
        candidates.*
        {%- for method, rule in methods.items() if rule.kind != 'high' %},
        candidates.recency_rank <= {{ by_day_type(method, 'pool', 'candidates.day_type') }}
        {%- if rule.lookback_days is defined %}
        and candidates.days_before <= {{ rule.lookback_days }}
        {%- endif %} as pool_{{ method }}
        {%- endfor %}
    from {{ candidates }} as candidates
),

{#- Of days of equal energy the older one is left out; the lowest is another than the highest. -#}
{%- for method, rule in methods.items() if rule.kind == 'mid' %}
without_highest_{{ method }} as (
    select
        key_number,
        candidate_day_number,
        kwh,
        recency_rank
    from pooled
    where pool_{{ method }}
    qualify
        row_number() over (partition by key_number order by kwh desc, recency_rank desc) > 1
),

mid_{{ method }} as (
    select
        key_number,
        candidate_day_number
    from without_highest_{{ method }}
    qualify
        row_number() over (partition by key_number order by kwh asc, recency_rank desc) > 1
),
{%- endfor %}

picks as (
    select
        pooled.*
        {%- for method, rule in methods.items() if rule.kind != 'high' %},
        {% if rule.kind == 'mid' -%}
        mid_{{ method }}.key_number is not null
        {%- else -%}
        pooled.pool_{{ method }}
        {%- endif %} as use_{{ method }}
        {%- endfor %}
        {%- for method, rule in methods.items() if rule.kind == 'high' %},
        {{ method }}.key_number is not null as pool_{{ method }},
        coalesce({{ method }}.is_used, false) as use_{{ method }}
        {%- endfor %}
    from pooled
    {%- for method, rule in methods.items() if rule.kind == 'mid' %}
    left join mid_{{ method }}
        on
            pooled.key_number = mid_{{ method }}.key_number
            and pooled.candidate_day_number = mid_{{ method }}.candidate_day_number
    {%- endfor %}
    {%- for method, rule in methods.items() if rule.kind == 'high' %}
    left join high_picks as {{ method }}
        on
            {{ method }}.method = '{{ method }}'
            and pooled.key_number = {{ method }}.key_number
            and pooled.candidate_day_number = {{ method }}.candidate_day_number
    {%- endfor %}
)
{%- endmacro -%}
