delete from shard.tables where table_name in ('public.reactions', 'public.reaction_totals');
drop table public.reaction_totals;
drop table public.reactions;
