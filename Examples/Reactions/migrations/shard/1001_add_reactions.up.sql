-- What people think of messages: a sharded table of our own. room_id is part of the key, so the rows
-- live where their room lives, and move with it.
create table public.reactions (
    room_id text collate "C" not null,
    message_id uuid not null,
    author text not null,
    emoji text not null check (octet_length(emoji) <= 32),
    primary key (room_id, message_id, author, emoji)
);

create table public.reaction_totals (
    room_id text collate "C" not null,
    emoji text not null,
    total bigint not null,
    primary key (room_id, emoji)
);

select shard.register_table('public.reactions');
select shard.register_table('public.reaction_totals');

grant select, insert on public.reactions to chat_app;
grant select, insert, update on public.reaction_totals to chat_app;
