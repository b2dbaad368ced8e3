-- The steps of a move at its two shards (docs/moving-data.md). Each acts on the whole set of slots or
-- on none of it, and fails with SM001 when its condition does not hold; that proves nothing, so the
-- caller reads the rows again and decides anew.
alter table shard.slots add column fenced_at timestamptz;
comment on column shard.slots.fenced_at is 'Since when writers wait here; a fence is measured by it.';

-- One row for a move at its source, replicated with the rows of the move: when it arrives at the
-- target, everything that was committed before it has arrived.
create table shard.move_marks (
    move_id bigint primary key,
    mark bigint not null
);

-- Where a move measures how long a commit takes here. Not replicated.
create table shard.move_probes (
    move_id bigint primary key,
    probe bigint not null
);

-- Locks the rows of the slots in their order, and makes the commit wait for the disk at least.
create function shard.move_begin(wanted integer[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    if current_setting('synchronous_commit') in ('off', 'local', 'remote_write') then
        perform set_config('synchronous_commit', 'on', true);
    end if;
    perform from shard.slots s where s.slot = any (wanted) order by s.slot for update;
end
$$;

create function shard.move_expect(changed integer, wanted integer[], step text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    if changed <> cardinality(wanted) then
        raise exception '%: % of % slots are in the state for it', step, changed, cardinality(wanted)
            using errcode = 'SM001';
    end if;
end
$$;

-- Step 2, at the target.
create function shard.move_prepare(m bigint, wanted integer[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    changed integer;
begin
    perform shard.move_begin(wanted);
    update shard.slots set state = 'preparing', move_id = m, attempt = 0, moved_to = null
    where slot = any (wanted) and state in ('none', 'moved') and barred < m;
    get diagnostics changed = row_count;
    perform shard.move_expect(changed, wanted, 'prepare');
end
$$;

-- The end of step 3, at the target: nothing of the slots is left there.
create function shard.move_import(m bigint, wanted integer[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    changed integer;
begin
    perform shard.move_begin(wanted);
    update shard.slots set state = 'importing'
    where slot = any (wanted) and state = 'preparing' and move_id = m;
    get diagnostics changed = row_count;
    perform shard.move_expect(changed, wanted, 'import');
end
$$;

-- What every transaction that copies, wipes or purges begins with, and holds until its end: the slots
-- are in this state by this move. A sleeper's rows cannot land in a later move.
create function shard.move_hold(m bigint, wanted integer[], expected text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    held integer;
begin
    perform from shard.slots s
    where s.slot = any (wanted) and s.state = expected and s.move_id = m
    order by s.slot for share;
    get diagnostics held = row_count;
    perform shard.move_expect(held, wanted, expected);
end
$$;

-- Step 5, at the source, for the first time and for every resume. attempt_at_target was just read there.
--
-- Here and below: the planner takes the slots of a move for one, and would compare each with all others
-- in a loop; 512 slots took 80 ms behind the fence.
create function shard.move_fence(
    m bigint, wanted integer[], epochs bigint[], attempt_at_target integer, target integer
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_nestloop = off as $$
declare
    changed integer;
begin
    perform shard.move_begin(wanted);
    update shard.slots s
    set state = 'fenced', move_id = m, attempt = attempt_at_target, moved_to = target,
        fenced_at = case when s.state = 'fenced' then s.fenced_at else clock_timestamp() end
    from unnest(wanted, epochs) as u (slot, epoch)
    where s.slot = any (wanted) and s.slot = u.slot
        and ((s.state = 'active' and s.barred < m and s.epoch = u.epoch)
            or (s.state = 'fenced' and s.move_id = m and s.attempt <= attempt_at_target));
    get diagnostics changed = row_count;
    perform shard.move_expect(changed, wanted, 'fence');
end
$$;

-- Transactions that may have written rows before they could see a fence: whoever holds a lock of a
-- writer on a registered table. Every writer holds ROW EXCLUSIVE, whatever it holds besides. Rows that
-- moves themselves write belong to other slots; chat_app cannot give itself their name.
create function shard.writers() returns text[]
language sql
set search_path = pg_catalog, pg_temp as $$
    select coalesce(array_agg(distinct l.virtualtransaction), '{}')
    from pg_locks l
    left join pg_stat_activity a on a.pid = l.pid
    left join pg_roles r on r.oid = a.usesysid
    where l.locktype = 'relation' and l.granted
        and l.database = (select oid from pg_database where datname = current_database())
        and l.relation in (select t.table_name::regclass from shard.tables t)
        and l.mode in ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
            'AccessExclusiveLock')
        and l.pid is distinct from pg_backend_pid()
        and a.backend_type is distinct from 'logical replication worker'
        and not (coalesce(r.rolsuper, false) and a.application_name like 'mv\_%')
$$;

-- Step 7, at the target: the commit point. The subscription goes in the same transaction.
create function shard.move_activate(
    m bigint, wanted integer[], epochs bigint[], attempt_at_source integer, subscription text
) returns void
language plpgsql
set enable_nestloop = off as $$
declare
    changed integer;
begin
    perform shard.move_begin(wanted);
    update shard.slots s
    set state = 'active', epoch = u.epoch + 1, barred = m, moved_to = null, fenced_at = null
    from unnest(wanted, epochs) as u (slot, epoch)
    where s.slot = any (wanted) and s.slot = u.slot and s.state = 'importing' and s.move_id = m
        and s.attempt = attempt_at_source;
    get diagnostics changed = row_count;
    perform shard.move_expect(changed, wanted, 'activate');
    perform shard.move_unsubscribe(subscription);
end
$$;

-- Detached from its replication slot first, so that the source need not answer.
create function shard.move_unsubscribe(subscription text) returns void
language plpgsql as $$
begin
    if exists (
        select from pg_catalog.pg_subscription s
        join pg_catalog.pg_database d on d.oid = s.subdbid
        where s.subname = subscription and d.datname = pg_catalog.current_database()) then
        execute pg_catalog.format('alter subscription %I disable', subscription);
        execute pg_catalog.format('alter subscription %I set (slot_name = none)', subscription);
        execute pg_catalog.format('drop subscription %I', subscription);
    end if;
end
$$;

-- Step 8, at the source.
create function shard.move_release(m bigint, wanted integer[], epochs bigint[], target integer)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_nestloop = off as $$
declare
    changed integer;
begin
    perform shard.move_begin(wanted);
    update shard.slots s
    set state = 'moved', moved_to = target, epoch = u.epoch + 1, barred = m, fenced_at = null
    from unnest(wanted, epochs) as u (slot, epoch)
    where s.slot = any (wanted) and s.slot = u.slot and s.state = 'fenced' and s.move_id = m;
    get diagnostics changed = row_count;
    perform shard.move_expect(changed, wanted, 'release');
end
$$;

-- Lifting a fence, first at the target: whoever fenced with an older attempt cannot commit any more.
create function shard.move_raise(m bigint, wanted integer[], attempt_seen integer) returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    changed integer;
begin
    perform shard.move_begin(wanted);
    update shard.slots set attempt = attempt_seen + 1
    where slot = any (wanted) and state = 'importing' and move_id = m and attempt = attempt_seen;
    get diagnostics changed = row_count;
    perform shard.move_expect(changed, wanted, 'raise');
end
$$;

-- Lifting a fence, then at the source, when the target's new attempt is durable.
create function shard.move_lift(m bigint, wanted integer[], attempt_seen integer) returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    changed integer;
begin
    perform shard.move_begin(wanted);
    update shard.slots set state = 'active', moved_to = null, fenced_at = null
    where slot = any (wanted) and state = 'fenced' and move_id = m and attempt <= attempt_seen;
    get diagnostics changed = row_count;
    perform shard.move_expect(changed, wanted, 'lift');
end
$$;

-- The abort, at the target: the tombstone. A repeat is no error.
create function shard.move_bar(m bigint, wanted integer[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    changed integer;
begin
    perform shard.move_begin(wanted);
    update shard.slots
    set state = 'none', move_id = m, barred = greatest(barred, m), moved_to = null
    where slot = any (wanted)
        and ((state in ('preparing', 'importing') and move_id = m)
            or (state in ('none', 'moved') and barred < m)
            or (state = 'none' and move_id = m and barred = m));
    get diagnostics changed = row_count;
    perform shard.move_expect(changed, wanted, 'bar');
end
$$;

-- The abort, then at the source: open again if this move fenced it, and closed to this move for ever.
create function shard.move_reopen(m bigint, wanted integer[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    perform shard.move_begin(wanted);
    update shard.slots set state = 'active', moved_to = null, fenced_at = null
    where slot = any (wanted) and state = 'fenced' and move_id = m;
    update shard.slots set barred = greatest(barred, m) where slot = any (wanted) and barred < m;
end
$$;

-- Lifting the fence of a runner that is gone, by any router that waits at it: first this, at the source.
-- Gives the move, its attempt and its target when the fence of the slot has lasted for long.
create function shard.stale_fence(of_slot integer, seconds double precision)
returns table (move_id bigint, attempt integer, target integer)
language sql stable
set search_path = pg_catalog, pg_temp as $$
    select s.move_id, s.attempt, s.moved_to from shard.slots s
    where s.slot = of_slot and s.state = 'fenced'
        and s.fenced_at < clock_timestamp() - make_interval(secs => greatest(seconds, 2))
$$;

-- Then this, at the target: whoever fenced before cannot commit any more. Gives the attempt from now
-- on; NULL when the move is not importing here with that attempt or a later one.
create function shard.raise_stale(m bigint, attempt_seen integer) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    importing integer[];
    result integer;
begin
    select array_agg(s.slot order by s.slot) into importing
    from shard.slots s where s.state = 'importing' and s.move_id = m;
    perform shard.move_begin(importing);
    with raised as (
        update shard.slots s set attempt = s.attempt + 1
        where s.slot = any (importing) and s.state = 'importing' and s.move_id = m
            and s.attempt >= attempt_seen
        returning s.attempt)
    select max(r.attempt) into result from raised r;
    return result;
end
$$;

-- At last this, at the source, when the target's answer is durable. Gives how many slots are open again.
create function shard.lift_stale(m bigint, attempt_raised integer, seconds double precision)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    fenced integer[];
    result integer;
begin
    select array_agg(s.slot order by s.slot) into fenced
    from shard.slots s where s.state = 'fenced' and s.move_id = m;
    perform shard.move_begin(fenced);
    update shard.slots s set state = 'active', moved_to = null, fenced_at = null
    where s.slot = any (fenced) and s.state = 'fenced' and s.move_id = m
        and s.attempt < attempt_raised
        -- Runners lift their own fences long before: nobody may lift a living one.
        and s.fenced_at < clock_timestamp() - make_interval(secs => greatest(seconds, 2));
    get diagnostics result = row_count;
    return result;
end
$$;

revoke all on all functions in schema shard from public;
grant execute on function shard.stale_fence(integer, double precision),
    shard.raise_stale(bigint, integer), shard.lift_stale(bigint, integer, double precision)
    to chat_app;
