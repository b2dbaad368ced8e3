-- The short way for a single message that was never stored before, into a room that exists: what an
-- idle shard gets. shard.append_new for one message takes 60 µs longer, a third of it all.
--
-- Gives the message's seq. Gives NULL, and does nothing, when the shard does not own the slot or when
-- the room is new; fails with unique_violation when the message was stored before.
-- shard.append_messages knows what to do then.
--
-- Lock the tables first, then check ownership, take the number and insert.
create function shard.append_one(
    room_id text, id uuid, author text, sent_at timestamptz, received_at timestamptz, body text
)
returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp as $$
declare
    result bigint;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'messages are appended in READ COMMITTED only'
            using errcode = 'invalid_transaction_state';
    end if;
    lock table public.messages, public.rooms in row exclusive mode;

    with numbered as (
        update public.rooms r set head = r.head + 1
        where r.room_id = append_one.room_id collate "C"
            and exists (
                select from shard.identity i
                join shard.slots s
                    on s.slot = ((hashtextextended(append_one.room_id, i.seed) >> 50)
                        & 16383)::integer
                where s.state = 'active')
        returning r.head
    )
    insert into public.messages (room_id, seq, id, author, sent_at, received_at, body)
    select append_one.room_id, n.head, append_one.id, append_one.author, append_one.sent_at,
        append_one.received_at, append_one.body
    from numbered n
    returning seq into result;
    return result;
end
$$;

revoke all on function shard.append_one(text, uuid, text, timestamptz, timestamptz, text)
    from public;
grant execute on function shard.append_one(text, uuid, text, timestamptz, timestamptz, text)
    to chat_app;
