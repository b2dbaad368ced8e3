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

create or replace function shard.restore_message(
    room_id text, old_seq bigint, id uuid, author text, was_sent_at timestamptz,
    was_received_at timestamptz, body text
)
returns table (outcome text, seq bigint, sent_at timestamptz, received_at timestamptz)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    last_seq bigint;
    new_seq bigint;
    known public.messages;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'messages are restored in READ COMMITTED only'
            using errcode = 'invalid_transaction_state';
    end if;
    lock table public.messages, public.rooms in row exclusive mode;
    if not exists (
        select from shard.slots s
        where s.slot = shard.slot_of(restore_message.room_id) and s.state = 'active')
    then
        return query select 'elsewhere', null::bigint, null::timestamptz, null::timestamptz;
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
                when known.author = restore_message.author and known.body = restore_message.body
                    then 'duplicate'
                else 'conflict'
            end,
            known.seq, known.sent_at, known.received_at;
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
    insert into public.messages (room_id, seq, id, author, sent_at, received_at, body)
    values (
        restore_message.room_id, new_seq, restore_message.id, restore_message.author,
        restore_message.was_sent_at, restore_message.was_received_at, restore_message.body);
    return query select
        'stored', new_seq, restore_message.was_sent_at, restore_message.was_received_at;
end
$$;

drop function shard.restore_message(
    text, bigint, uuid, text, timestamptz, timestamptz, text, text);
drop function shard.moderate(text, uuid, text, timestamptz, timestamptz, text);
drop function shard.obey(text, bigint, jsonb, timestamptz);
select shard.unregister_table('public.moderation');
drop table public.moderation;
alter table public.messages drop column deleted_by;
alter table public.messages drop column event;
