-- The short way for messages that were never stored before, into rooms that exist.
--
-- Gives the head that each room had before; the caller numbers its messages from there on. Gives
-- NULL, and does nothing, when the shard does not own all the slots or when a room is new; fails
-- with unique_violation when a message was stored before. shard.append_messages knows what to do
-- then.
--
--   rooms     each room once, in the order of their bytes: two batches cannot deadlock
--   counts    how many messages each of them gets
--   room_of   for each message the position of its room in rooms, from 1
--   places    for each message its place among those of its room, from 1
--
-- The order of the statements carries the guarantees: lock the tables, check ownership, take the
-- numbers with the lock of the room's row, insert. Other joins than the nested loop over rooms
-- would take those locks in another order. The plan is made once; compiling it never pays.
create function shard.append_new(
    rooms text[], counts integer[], room_of integer[], places integer[], room_ids text[],
    ids uuid[], authors text[], sent_ats timestamptz[], received_ats timestamptz[], bodies text[]
)
returns bigint[]
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off as $$
declare
    wanted integer[];
    owned integer;
    heads bigint[];
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'messages are appended in READ COMMITTED only'
            using errcode = 'invalid_transaction_state';
    end if;
    lock table public.messages, public.rooms in row exclusive mode;

    select array_agg(distinct ((hashtextextended(u.room_id, i.seed) >> 50) & 16383)::integer)
    into wanted
    from shard.identity i, unnest(rooms) as u (room_id);
    select count(*) into owned
    from shard.slots s where s.slot = any (wanted) and s.state = 'active';
    if owned < cardinality(wanted) then
        return null;
    end if;

    with numbered as (
        update public.rooms r set head = r.head + u.messages
        from unnest(rooms, counts) with ordinality as u (room_id, messages, place)
        where r.room_id = u.room_id collate "C"
        returning u.place, r.head - u.messages as head
    )
    select array_agg(n.head order by n.place) into heads from numbered n;
    if heads is null or cardinality(heads) < cardinality(rooms) then
        -- The rooms that exist must not keep numbers that nobody uses.
        update public.rooms r set head = r.head - u.messages
        from unnest(rooms, counts) as u (room_id, messages)
        where r.room_id = u.room_id collate "C" and heads is not null;
        return null;
    end if;

    insert into public.messages (room_id, seq, id, author, sent_at, received_at, body)
    select u.room_id, heads[u.room] + u.place, u.id, u.author, u.sent_at, u.received_at, u.body
    from unnest(room_of, places, room_ids, ids, authors, sent_ats, received_ats, bodies)
        as u (room, place, room_id, id, author, sent_at, received_at, body);
    return heads;
end
$$;

revoke all on function shard.append_new(
    text[], integer[], integer[], integer[], text[], uuid[], text[], timestamptz[], timestamptz[],
    text[]) from public;
grant execute on function shard.append_new(
    text[], integer[], integer[], integer[], text[], uuid[], text[], timestamptz[], timestamptz[],
    text[]) to chat_app;

-- Its plan does not depend on what is stored, and making it takes longer than running it.
alter function shard.append_messages(
    text[], uuid[], text[], timestamptz[], timestamptz[], text[])
    set plan_cache_mode = force_generic_plan;
