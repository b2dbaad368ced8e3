-- What moderators do to a room: events in the room's own order, and what holds because of them.
--
-- An event is a row of messages without a text. It has its seq like any other, so whoever compares
-- what he has with the room gets it like any other.
alter table public.messages add column event text;
comment on column public.messages.event is
    'What a moderator did, as JSON; null for what somebody wrote.';
alter table public.messages add column deleted_by bigint;
comment on column public.messages.deleted_by is
    'The seq of the last event that deleted this message; its body is gone then.';

-- What the latest event of its kind has said about a subject. Events may come again, after a shard
-- has lost them, and in any order; so may the messages that they deleted.
create table public.moderation (
    room_id text collate "C" not null,
    kind text not null check (kind in ('delete', 'mute', 'bar')),
    subject text not null,
    until timestamptz,
    seq bigint not null check (seq > 0),
    primary key (room_id, kind, subject)
);
comment on column public.moderation.subject is 'The id of a message, or the name of a user.';
comment on column public.moderation.until is 'When it ends, or ended; null: never.';
select shard.register_table('public.moderation');

-- Puts an event into effect. The caller holds the room's row.
--
-- Events: {"kind":"delete","id":…}, {"kind":"mute","user":…,"until":…}, {"kind":"unmute","user":…},
-- {"kind":"kick","user":…,"until":…}, {"kind":"unbar","user":…}. A mute without until has no end,
-- a kick without until bars nobody. Of two events about the same the higher seq counts.
create function shard.obey(room_id text, seq bigint, event jsonb, at timestamptz) returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    what text := obey.event->>'kind';
    ends timestamptz := (obey.event->>'until')::timestamptz;
begin
    if what = 'delete' then
        update public.messages m set body = '', deleted_by = greatest(m.deleted_by, obey.seq)
        where m.room_id = obey.room_id collate "C" and m.id = (obey.event->>'id')::uuid
            and m.event is null;
    end if;
    if what = 'kick' and ends is null then
        return;
    end if;
    if what in ('unmute', 'unbar') then
        ends := at;
    end if;
    insert into public.moderation as known (room_id, kind, subject, until, seq)
    values (
        obey.room_id,
        case
            when what = 'delete' then 'delete'
            when what in ('mute', 'unmute') then 'mute'
            when what in ('kick', 'unbar') then 'bar'
        end,
        coalesce(obey.event->>'id', obey.event->>'user'), ends, obey.seq)
    on conflict on constraint moderation_pkey do update
    set until = excluded.until, seq = excluded.seq where known.seq < excluded.seq;
end
$$;

-- Stores an event and puts it into effect. Answers one row:
--   stored     it is stored now, with this seq
--   duplicate  it was stored before: the same author did the same; its seq, times and event
--   conflict   its id holds something else of this room
--   unknown    the message that it deletes is not here, or is an event itself
--   elsewhere  this shard does not own its slot
-- Of a repeated event the end may differ: it is counted from when a server received it.
--
-- Lock the tables first, then check ownership, lock the room, and only then look and number.
create function shard.moderate(
    room_id text, id uuid, author text, was_sent_at timestamptz, was_received_at timestamptz,
    act text
)
returns table (
    outcome text, seq bigint, sent_at timestamptz, received_at timestamptz, event text
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    new_seq bigint;
    known public.messages;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'rooms are moderated in READ COMMITTED only'
            using errcode = 'invalid_transaction_state';
    end if;
    lock table public.messages, public.rooms, public.moderation in row exclusive mode;
    if not exists (
        select from shard.slots s
        where s.slot = shard.slot_of(moderate.room_id) and s.state = 'active')
    then
        return query select
            'elsewhere', null::bigint, null::timestamptz, null::timestamptz, null::text;
        return;
    end if;

    insert into public.rooms (room_id) values (moderate.room_id) on conflict do nothing;
    perform from public.rooms r
    where r.room_id = moderate.room_id collate "C" for no key update;

    select m.* into known from public.messages m
    where m.room_id = moderate.room_id collate "C" and m.id = moderate.id;
    if found then
        return query select
            case
                when known.author = moderate.author
                    and known.event::jsonb - 'until' = moderate.act::jsonb - 'until'
                    then 'duplicate'
                else 'conflict'
            end,
            known.seq, known.sent_at, known.received_at, known.event;
        return;
    end if;
    if moderate.act::jsonb->>'kind' = 'delete' and not exists (
        select from public.messages m
        where m.room_id = moderate.room_id collate "C"
            and m.id = (moderate.act::jsonb->>'id')::uuid and m.event is null)
    then
        return query select
            'unknown', null::bigint, null::timestamptz, null::timestamptz, null::text;
        return;
    end if;

    update public.rooms r set head = r.head + 1
    where r.room_id = moderate.room_id collate "C" returning r.head into new_seq;
    insert into public.messages (room_id, seq, id, author, sent_at, received_at, body, event)
    values (
        moderate.room_id, new_seq, moderate.id, moderate.author, moderate.was_sent_at,
        moderate.was_received_at, '', moderate.act);
    perform shard.obey(
        moderate.room_id, new_seq, moderate.act::jsonb, moderate.was_received_at);
    return query select
        'stored', new_seq, moderate.was_sent_at, moderate.was_received_at, moderate.act;
end
$$;

-- shard.restore_message of 0007 for messages and events alike. A message that was deleted comes
-- back without its text, and deleted_by says so; a message that is here stays as it is.
create function shard.restore_message(
    room_id text, old_seq bigint, id uuid, author text, was_sent_at timestamptz,
    was_received_at timestamptz, body text, act text
)
returns table (
    outcome text, seq bigint, sent_at timestamptz, received_at timestamptz, deleted_by bigint
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    last_seq bigint;
    new_seq bigint;
    deletion bigint;
    known public.messages;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'messages are restored in READ COMMITTED only'
            using errcode = 'invalid_transaction_state';
    end if;
    lock table public.messages, public.rooms, public.moderation in row exclusive mode;
    if not exists (
        select from shard.slots s
        where s.slot = shard.slot_of(restore_message.room_id) and s.state = 'active')
    then
        return query select
            'elsewhere', null::bigint, null::timestamptz, null::timestamptz, null::bigint;
        return;
    end if;

    insert into public.rooms (room_id) values (restore_message.room_id) on conflict do nothing;
    select r.head into last_seq from public.rooms r
    where r.room_id = restore_message.room_id collate "C" for no key update;

    select m.* into known from public.messages m
    where m.room_id = restore_message.room_id collate "C" and m.id = restore_message.id;
    if found then
        return query select
            case
                when known.author = restore_message.author
                    and known.event is not distinct from restore_message.act
                    and (known.deleted_by is not null or known.body = restore_message.body)
                    then 'duplicate'
                else 'conflict'
            end,
            known.seq, known.sent_at, known.received_at, known.deleted_by;
        return;
    end if;

    if restore_message.old_seq between 1 and last_seq and not exists (
        select from public.messages m
        where m.room_id = restore_message.room_id collate "C"
            and m.seq = restore_message.old_seq)
    then
        new_seq := restore_message.old_seq;
    else
        new_seq := last_seq + 1;
        update public.rooms r set head = new_seq
        where r.room_id = restore_message.room_id collate "C";
    end if;
    if restore_message.act is null then
        select d.seq into deletion from public.moderation d
        where d.room_id = restore_message.room_id collate "C" and d.kind = 'delete'
            and d.subject = restore_message.id::text;
    end if;
    insert into public.messages (
        room_id, seq, id, author, sent_at, received_at, body, event, deleted_by)
    values (
        restore_message.room_id, new_seq, restore_message.id, restore_message.author,
        restore_message.was_sent_at, restore_message.was_received_at,
        case when deletion is null then restore_message.body else '' end,
        restore_message.act, deletion);
    if restore_message.act is not null then
        perform shard.obey(
            restore_message.room_id, new_seq, restore_message.act::jsonb,
            restore_message.was_received_at);
    end if;
    return query select
        'stored', new_seq, restore_message.was_sent_at, restore_message.was_received_at, deletion;
end
$$;

-- The form of 0007, for servers that know no events.
create or replace function shard.restore_message(
    room_id text, old_seq bigint, id uuid, author text, was_sent_at timestamptz,
    was_received_at timestamptz, body text
)
returns table (outcome text, seq bigint, sent_at timestamptz, received_at timestamptz)
language sql volatile security definer
set search_path = pg_catalog, pg_temp as $$
    select r.outcome, r.seq, r.sent_at, r.received_at
    from shard.restore_message(
        room_id, old_seq, id, author, was_sent_at, was_received_at, body, null) r
$$;

-- The text of a deleted message is gone, so its author alone decides whether it is a duplicate.
create or replace function shard.append_messages(
    room_ids text[], ids uuid[], authors text[], sent_ats timestamptz[],
    received_ats timestamptz[], bodies text[]
)
returns table (
    place integer, outcome text, seq bigint, sent_at timestamptz, received_at timestamptz,
    slot_state text, moved_to integer, slot_epoch bigint
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan as $$
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
            m.sent_at as known_sent_at, m.received_at as known_received_at,
            m.deleted_by as known_deleted_by
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
                and (j.known_deleted_by is not null
                    or coalesce(j.known_body, f.body) = j.body) then 'duplicate'
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

grant select on public.moderation to chat_app;
revoke all on function shard.obey(text, bigint, jsonb, timestamptz) from public;
revoke all on function shard.moderate(text, uuid, text, timestamptz, timestamptz, text) from public;
revoke all on function shard.restore_message(
    text, bigint, uuid, text, timestamptz, timestamptz, text, text) from public;
grant execute on function shard.moderate(
    text, uuid, text, timestamptz, timestamptz, text) to chat_app;
grant execute on function shard.restore_message(
    text, bigint, uuid, text, timestamptz, timestamptz, text, text) to chat_app;
