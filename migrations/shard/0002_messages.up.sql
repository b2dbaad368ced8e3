-- Rooms and their messages: the first sharded tables.
create table public.rooms (
    room_id text collate "C" primary key,
    head bigint not null default 0 check (head >= 0)
) with (fillfactor = 70);
comment on column public.rooms.head is 'The highest seq that was given in this room.';

create table public.messages (
    room_id text collate "C" not null,
    seq bigint not null check (seq > 0),
    id uuid not null,
    author text not null,
    sent_at timestamptz not null,
    received_at timestamptz not null,
    body text not null check (octet_length(body) <= 65536),
    primary key (room_id, seq),
    unique (room_id, id)
);

select shard.register_table('public.rooms');
select shard.register_table('public.messages');

-- Proves that this shard owns the slot of a room, for the rest of the transaction.
--
-- The lock comes in an earlier statement than the check: whoever fences the slot waits for the
-- holders of this lock, so either the check sees the fence or the fence waits for this transaction.
-- A fixed snapshot would see neither, hence the isolation level.
create function shard.prove_ownership(room_id text)
returns table (slot integer, state text, moved_to integer, epoch bigint)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'ownership can be proven in READ COMMITTED only'
            using errcode = 'invalid_transaction_state';
    end if;
    lock table public.rooms in row exclusive mode;
    return query
        select s.slot, s.state, s.moved_to, s.epoch
        from shard.slots s where s.slot = shard.slot_of(prove_ownership.room_id);
end
$$;

-- Stores messages and numbers them, room by room, without holes and in commit order.
--
-- Answers one row for each message, in the order given:
--   stored     it is stored now, with this seq
--   duplicate  it was stored before: same author and text, the seq and times of that time
--   conflict   its id holds another message of this room
--   elsewhere  this shard does not own its slot: see slot_state, moved_to, slot_epoch
-- The order of the statements carries the guarantees: lock the table, check ownership, lock the
-- rooms in their order, and only then look for known ids and take numbers.
create function shard.append_messages(
    room_ids text[], ids uuid[], authors text[], sent_ats timestamptz[],
    received_ats timestamptz[], bodies text[]
)
returns table (
    place integer, outcome text, seq bigint, sent_at timestamptz, received_at timestamptz,
    slot_state text, moved_to integer, slot_epoch bigint
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    owned text[];
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'messages are appended in READ COMMITTED only'
            using errcode = 'invalid_transaction_state';
    end if;
    lock table public.messages, public.rooms in row exclusive mode;

    select array_agg(r.room_id order by r.room_id) into owned
    from (select distinct u.room_id collate "C" as room_id
          from unnest(room_ids) as u (room_id)) r
    join shard.slots s on s.slot = shard.slot_of(r.room_id) and s.state = 'active';

    -- New rooms first, then every room of the batch, both in order: two batches cannot deadlock.
    insert into public.rooms (room_id)
    select o.room_id from unnest(owned) as o (room_id)
    where not exists (select from public.rooms r where r.room_id = o.room_id)
    order by o.room_id collate "C"
    on conflict do nothing;

    perform from public.rooms r where r.room_id = any (owned) order by r.room_id for no key update;

    return query
    with given as (
        select u.place::integer as place, u.room_id collate "C" as room_id, u.id, u.author,
            u.sent_at, u.received_at, u.body
        from unnest(room_ids, ids, authors, sent_ats, received_ats, bodies) with ordinality
            as u (room_id, id, author, sent_at, received_at, body, place)
    ),
    judged as (
        select g.*, g.room_id = any (owned) as is_owned,
            min(g.place) over (partition by g.room_id, g.id) as first_place,
            m.seq as known_seq, m.author as known_author, m.body as known_body,
            m.sent_at as known_sent_at, m.received_at as known_received_at
        from given g
        left join public.messages m
            on m.room_id = g.room_id and m.id = g.id and g.room_id = any (owned)
    ),
    fresh as (
        select j.*, r.head + row_number() over (partition by j.room_id order by j.place) as new_seq
        from judged j join public.rooms r on r.room_id = j.room_id
        where j.is_owned and j.known_seq is null and j.place = j.first_place
    ),
    added as (
        insert into public.messages (room_id, seq, id, author, sent_at, received_at, body)
        select f.room_id, f.new_seq, f.id, f.author, f.sent_at, f.received_at, f.body
        from fresh f order by f.room_id, f.new_seq
    ),
    counted as (
        update public.rooms r set head = n.head
        from (select f.room_id, max(f.new_seq) as head from fresh f group by f.room_id) n
        where r.room_id = n.room_id
    )
    select j.place,
        case
            when not coalesce(j.is_owned, false) then 'elsewhere'
            when f.place = j.place then 'stored'
            when coalesce(j.known_author, f.author) = j.author
                and coalesce(j.known_body, f.body) = j.body then 'duplicate'
            else 'conflict'
        end,
        coalesce(j.known_seq, f.new_seq),
        coalesce(j.known_sent_at, f.sent_at), coalesce(j.known_received_at, f.received_at),
        s.state, s.moved_to, s.epoch
    from judged j
    left join fresh f on f.place = j.first_place
    left join shard.slots s
        on not coalesce(j.is_owned, false) and s.slot = shard.slot_of(j.room_id)
    order by j.place;
end
$$;

revoke all on all functions in schema shard from public;
grant usage on schema public to chat_app;
grant select on public.rooms, public.messages to chat_app;
grant execute on function shard.prove_ownership(text) to chat_app;
grant execute on function shard.append_messages(
    text[], uuid[], text[], timestamptz[], timestamptz[], text[]) to chat_app;
