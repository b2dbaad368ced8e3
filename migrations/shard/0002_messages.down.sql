drop function shard.append_messages(
    text[], uuid[], text[], timestamptz[], timestamptz[], text[]);
drop function shard.prove_ownership(text);
delete from shard.tables where table_name in ('public.rooms', 'public.messages');
drop table public.messages;
drop table public.rooms;
