/*
 * How a slot changes its shard: the protocol of online moves as a model for the checker `spin`.
 *
 * One slot stands for the set of slots of a move. Every step of a runner is one transaction in one
 * database and therefore one `atomic` block here. Between any two steps a runner may sleep for as
 * long as it likes and come back with what it remembers (that is plain interleaving), or crash and
 * come back knowing nothing. Neither is limited in number.
 *
 * The step numbers are those of docs/moving-data.md. `./check` runs the model and every broken variant of
 * it; README.md says what is left out and why that is sound.
 *
 * Two habits of the checker shape the text. An `else` inside the first statement of an option
 * belongs to all options beside it, so every step begins with a plain guard. A comment at the end
 * of a line with an assertion is what `./check` prints when it fails.
 */

/* ---- Size. Every bound has a default; `-D` overrides it. ---- */

#ifndef SHARDS
#define SHARDS 2                /* 2 or 3 */
#endif
#ifndef MOVES
#define MOVES 2                 /* move ids that may be opened: 1 to 3 */
#endif
#ifndef AGENTS
#define AGENTS 2                /* runners, aborters, lifters: 1 to 3 */
#endif
#ifndef WRITES
#define WRITES 2                /* new ids that users insert: 0 to 3; id 0 is old */
#endif
#ifndef DELETES
#define DELETES 0               /* 1: a user deletes id 0 at some moment */
#endif
#ifndef LIFTS
#define LIFTS 1                 /* how often the fence of one move may be lifted */
#endif
#ifndef LOSSES
#define LOSSES 0                /* 1: one replication slot is lost at some moment */
#endif
#ifndef READERS
#define READERS 0               /* readers behind one router; 2 share its map */
#endif
#ifndef REACH
#define REACH 0                 /* n: search for an example of event n instead of for a mistake */
#endif
#ifndef RESUMES
#define RESUMES 7               /* with CALM: so many looks at the decision table must be enough */
#endif

/*
 * Two switches:
 * CALM    At any moment the faults may stop for good. Sleepers come back and finish, runner 0
 *         resumes what is open, and when nothing more can happen the end is judged.
 * UNSURE  A commit's acknowledgement may be lost on its way; the writer repeats with the same id.
 */

/* ---- The catalog ---- */

#define UNUSED 0
#define OPEN 1
#define DONE 2
#define ABORTED 3

byte owner;                     /* the topology: who owns the slot */
byte catalogEpoch;              /* and since which epoch */
byte used;                      /* move ids drawn so far; never drawn twice */
byte openMove;                  /* the unique index: at most one open move of a slot; 0: none */
byte journal[MOVES + 1];        /* UNUSED, OPEN, DONE or ABORTED */
byte source[MOVES + 1];         /* A, written with the move's row and never changed */
byte target[MOVES + 1];         /* B */
byte epochBefore[MOVES + 1];    /* e */

/* ---- The shards ---- */

mtype = { NONE, PREPARING, IMPORTING, ACTIVE, FENCED, MOVED };

/* The slot's row in `shard.slots`, and beside it the content of the registered tables. A move that
 * prepares B sets `attempt` to 0; it would do no harm to let it grow. */
typedef Shard {
    mtype state;
    byte move;                  /* move_id */
    byte barred;                /* the highest move that may no longer act here */
    byte attempt;
    byte movedTo;
    byte epoch;
    byte rows;                  /* a set of ids, one bit each */
    byte holders                /* open transactions with a write lock here, by the id they write */
}
Shard shard[SHARDS];

/* ---- Replication. All of it bears the move's id. ---- */

#define NO_SUBSCRIPTION 0
#define DETACHED 1              /* disabled or without its slot; its worker may still be running */
#define RUNNING 2

bit publication[MOVES + 1];     /* at A */
bit replicationSlot[MOVES + 1]; /* at A */
byte subscription[MOVES + 1];   /* at B */

/* What the slot has kept and the subscription has not applied yet, oldest first: a set of ids,
 * inserted, or deleted if DELETION is added. */
#define DELETION 16
#define STREAM 8
chan stream[MOVES + 1] = [STREAM] of { byte };

/* ---- What a runner remembers. Global, because the assertions look at it. ---- */

byte runs[AGENTS];              /* the move it works on */
byte k[AGENTS];                 /* the attempt it read at B before it fenced A */
byte waitFor[AGENTS];           /* the holders its drain found and still waits for */
byte ahead[AGENTS];             /* entries of the stream before its L, not yet applied */
bit drained[AGENTS];            /* its drain is over: from here on it relies on A standing still */

/* ---- What the users were told. Nobody in the model looks at this but the assertions. ---- */

byte acknowledged = 1;          /* ids that users were told are stored */
byte gone;                      /* ids that users were told are deleted */
byte begun;                     /* ids that somebody has tried to write */

bit calm;
bit lost;
byte resumes;

/* Values that live only inside one atomic step. */
hidden byte entry;

#define A shard[source[runs[i]]]
#define B shard[target[runs[i]]]
#define M runs[i]

#define isAt(row, s, m) (row.state == s && row.move == m)

#if REACH
byte copier;
#define reached(n, condition) assert(REACH != n || !(condition))
#else
#define reached(n, condition) skip
#endif

/* ---- What a broken variant leaves out, or does in another order ---- */

#ifdef ADOPT_HALF_COPY
#define WithoutSubscription Subscribe
#else
#define WithoutSubscription Tombstone
#endif
#ifdef SLOT_BEFORE_PUBLICATION
#define FirstOfCopy CreateSlot
#define AfterCreateSlot Publish
#define AfterPublish CopyFirst
#else
#define FirstOfCopy Publish
#define AfterPublish CreateSlot
#define AfterCreateSlot CopyFirst
#endif
#ifdef NO_DRAIN
#define holdersToWaitFor 0
#else
#define holdersToWaitFor A.holders
#endif
#ifdef DRAIN_ONLY_ONCE
#define AfterFenceAgain AwaitHolders
#else
#define AfterFenceAgain Drain
#endif
#ifdef SWITCH_WITHOUT_CAUGHT_UP
#define AfterDrain Detach
#else
#define AfterDrain CatchUp
#endif
#ifdef ABORT_A_FIRST
#define FirstOfAbort AbortSource
#define AfterAbortSource Tombstone
#define AfterAbortSlot AbortCopy
#else
#define FirstOfAbort Tombstone
#define AfterAbortSlot AbortSource
#define AfterAbortSource AbortCopy
#endif
#ifdef REOPEN_A_FIRST
#define FirstOfLift Reopen
#define AfterReopen Lift
#define AfterLift Idle
#else
#define FirstOfLift Lift
#define AfterLift Reopen
#define AfterReopen Idle
#endif

#ifdef PREPARE_WITHOUT_BARRED
#define mayPrepare true
#else
#define mayPrepare (B.barred < M)
#endif
#ifdef FENCE_WITHOUT_BARRED
#define mayFence true
#else
#define mayFence (A.barred < M)
#endif
#ifdef FENCE_WITHOUT_EPOCH
#define epochAllowsFence true
#else
#define epochAllowsFence (A.epoch == epochBefore[M])
#endif
#ifdef FENCE_AGAIN_WITHOUT_ATTEMPT
#define mayFenceAgain true
#else
#define mayFenceAgain (A.attempt <= k[i])
#endif
#ifdef SWITCH_SOURCE_WITHOUT_MOVE
#define maySwitchSource (A.state == FENCED)
#else
#define maySwitchSource isAt(A, FENCED, M)
#endif
#ifdef ABORT_SETS_BARRED_BLINDLY
#define mayBarSource true
#else
#define mayBarSource (A.barred < M)
#endif
#ifdef SUBSCRIBE_WITHOUT_LOCK
#define maySubscribe true
#else
#define maySubscribe isAt(B, IMPORTING, M)
#endif
#ifdef CATALOG_WITHOUT_EPOCH
#define maySwitchCatalog true
#else
#define maySwitchCatalog (catalogEpoch < epochBefore[M] + 1)
#endif
#ifdef PURGE_WITHOUT_LOCK
#define mayPurge true
#else
#define mayPurge isAt(A, MOVED, M)
#endif
#if defined(REOPEN_WITHOUT_ATTEMPT)
#define isOldEnough true
#elif defined(REOPEN_EQUAL_ONLY)
#define isOldEnough (A.attempt == k[i])
#else
#define isOldEnough (A.attempt <= k[i])
#endif
#ifdef FINISH_ABORT_ONLY_IF_FENCED
#define mayFinishAbort isAt(A, FENCED, M)
#else
#define mayFinishAbort true
#endif
#ifdef FOLLOW_ANY_MOVED
#define mayFollow true
#else
#define mayFollow (epoch > mapEpoch)
#endif

/* ---- Invariants ---- */

#if SHARDS == 2
#define count(p) (p(0) + p(1))
#define all(p) (p(0) && p(1))
#else
#define count(p) (p(0) + p(1) + p(2))
#define all(p) (p(0) && p(1) && p(2))
#endif

#if MOVES == 1
#define allMoves(p, x) (p(1, x))
#elif MOVES == 2
#define allMoves(p, x) (p(1, x) && p(2, x))
#else
#define allMoves(p, x) (p(1, x) && p(2, x) && p(3, x))
#endif

#if AGENTS == 1
#define noAgent(p, x) (!p(0, x))
#elif AGENTS == 2
#define noAgent(p, x) (!p(0, x) && !p(1, x))
#else
#define noAgent(p, x) (!p(0, x) && !p(1, x) && !p(2, x))
#endif

#define isActive(x) (shard[x].state == ACTIVE)
#define isFenced(x) (shard[x].state == FENCED)
#define hasAll(x) ((shard[x].rows & acknowledged) == acknowledged && (shard[x].rows & gone) == 0)
#define activeHasAll(x) (!isActive(x) || hasAll(x))
#define fencedHasAll(x) (!isFenced(x) || hasAll(x))
#define notCoveredBy(m, x) (subscription[m] == NO_SUBSCRIPTION || target[m] != x)
#define activeIsNotCovered(x) (!isActive(x) || allMoves(notCoveredBy, x))
#define closedFeedsNobody(m, x) (journal[m] <= OPEN || subscription[m] == NO_SUBSCRIPTION)
#define itsMoveIsOpen(x) (openMove == shard[x].move \
    || (shard[x].state != PREPARING && shard[x].state != IMPORTING && shard[x].state != FENCED))
#define after(x) shard[shard[x].movedTo]
#define isOwner(row) (row.state == ACTIVE || row.state == FENCED)
#define chainRises(x) (shard[x].state != MOVED \
    || ((after(x).state != MOVED || after(x).epoch > shard[x].epoch) \
        && (!isOwner(after(x)) || after(x).epoch >= shard[x].epoch)))

/* Judged after every change of a shard or of the journal. That the active shard has everything that
 * was acknowledged is also the promise to readers: a read is one statement at an active shard. */
inline invariants() {
    assert(count(isActive) <= 1);                           /* two owners */
    assert(count(isActive) == 1 || count(isFenced) == 1);   /* no owner, nor one in waiting */
    assert(all(activeHasAll));                              /* an acknowledged write is missing */
    assert(count(isActive) == 1 || all(fencedHasAll));      /* the same, during the fence */
    assert(all(activeIsNotCovered));                        /* a subscription feeds the owner */
    assert(all(itsMoveIsOpen));                             /* a closed move has come back */
    assert(allMoves(closedFeedsNobody, 0));                 /* a closed move's subscription */
    assert(all(chainRises));                                /* a chain of redirects may not end */
}

inline bar(row, m) {
    assert(m >= row.barred);                                /* barred decreases */
    row.barred = m
}

inline raiseEpoch(row, e) {
    assert(e >= row.epoch);                                 /* an epoch decreases */
    row.epoch = e
}

/* ---- Logical replication ---- */

/* Whether anybody can ever read the stream of move m again. Only a subscription reads it, and one
 * can be created only while B imports for m. What nobody can read is not kept: fewer states, same
 * model. */
#ifdef SUBSCRIBE_WITHOUT_LOCK
#define readable(m) true
#else
#define readable(m) (subscription[m] != NO_SUBSCRIPTION || isAt(shard[target[m]], IMPORTING, m))
#endif

#define publishTo(m, x, change) \
    if \
    :: replicationSlot[m] && publication[m] && source[m] == x && readable(m) -> \
        assert(nfull(stream[m]));        /* STREAM is too small for this size */ \
        stream[m]!change \
    :: else \
    fi

/* Every change of the slot's rows at x, whoever makes it: users, wipes, purges, and also copies and
 * applied changes, which PostgreSQL 15 publishes again. */
inline publish(x, change) {
    publishTo(1, x, change);
#if MOVES > 1
    publishTo(2, x, change);
#endif
#if MOVES > 2
    publishTo(3, x, change);
#endif
}

inline forget(m) {
    do
    :: nempty(stream[m]) -> stream[m]?entry
    :: empty(stream[m]) -> break
    od
}

inline deleteAll(x) {
    if
    :: shard[x].rows != 0 -> publish(x, DELETION + shard[x].rows); shard[x].rows = 0
    :: else
    fi
}

inline copyInto(x, ids) {
    assert((shard[x].rows & (ids)) == 0);                   /* duplicate key during a copy */
    if
    :: (ids) != 0 -> shard[x].rows = shard[x].rows | (ids); publish(x, (ids))
    :: else
    fi
}

#define passed(i, m) if :: runs[i] == m && ahead[i] > 0 -> ahead[i]-- :: else fi

/* The apply worker of move m. It asks nobody: it applies whatever the state of the slot's row is.
 * A detached subscription's worker may still run: ALTER SUBSCRIPTION returns too early. */
proctype Worker(byte m) {
end:
    do
    :: atomic {
        subscription[m] != NO_SUBSCRIPTION && replicationSlot[m] && nempty(stream[m]) ->
        stream[m]?entry;
        if
        :: entry >= DELETION ->
            shard[target[m]].rows = shard[target[m]].rows & ~(entry - DELETION)
        :: else ->
            assert((shard[target[m]].rows & entry) == 0);   /* duplicate key: endless retry */
            shard[target[m]].rows = shard[target[m]].rows | entry
        fi;
        publish(target[m], entry);
        passed(0, m);
#if AGENTS > 1
        passed(1, m);
#endif
#if AGENTS > 2
        passed(2, m);
#endif
        invariants()
    }
    od
}

/* ---- Users ---- */

/* A runner that has drained, and whose attempt is still the one at both shards, may pass the commit
 * point: A's rows must not change under it. */
#define reliesOn(i, x) (drained[i] && source[runs[i]] == x && isAt(shard[x], FENCED, runs[i]) \
    && shard[x].attempt == k[i] && isAt(shard[target[runs[i]]], IMPORTING, runs[i]) \
    && shard[target[runs[i]]].attempt == k[i])

inline leave(x, bits) {
    shard[x].holders = shard[x].holders & ~(bits);
    waitFor[0] = waitFor[0] & ~(bits);
#if AGENTS > 1
    waitFor[1] = waitFor[1] & ~(bits);
#endif
#if AGENTS > 2
    waitFor[2] = waitFor[2] & ~(bits);
#endif
}

/* Writes one id, or deletes id 0. Its router may have any map at all: it tries any shard, at any
 * moment, as often as it likes. The transaction takes the table's lock, then proves ownership, and
 * commits some time later. */
proctype Writer(byte id; bit deletes) {
    byte x;
end:
    atomic {
        /* Ids are alike, so they may as well be used in order. */
        count(isActive) == 1 && (id < 2 || (begun >> (id - 1)) & 1) ->
        begun = begun | (1 << id);
        if
        :: isActive(0) -> x = 0
        :: isActive(1) -> x = 1
#if SHARDS > 2
        :: isActive(2) -> x = 2
#endif
        fi;
#ifndef CHECK_WITHOUT_LOCK
        shard[x].holders = shard[x].holders | (1 << id)
#endif
    }
    if
    :: atomic {
        assert(noAgent(reliesOn, x));                       /* A changes after its drain */
        if
        :: deletes ->
            shard[x].rows = shard[x].rows & ~(1 << id);
            publish(x, DELETION + (1 << id));
            acknowledged = acknowledged & ~(1 << id);
            gone = gone | (1 << id)
        :: else ->
            if
            :: (shard[x].rows >> id) & 1        /* a repeated id is no error */
            :: else ->
                shard[x].rows = shard[x].rows | (1 << id);
                publish(x, 1 << id)
            fi;
            acknowledged = acknowledged | (1 << id)
        fi;
        leave(x, 1 << id);
        reached(5, openMove != 0 && x == target[openMove]);
        x = 0;
        invariants()
    }
#ifdef UNSURE
    :: atomic {
        !deletes && !((shard[x].rows >> id) & 1) ->
        assert(noAgent(reliesOn, x));                       /* A changes after its drain */
        shard[x].rows = shard[x].rows | (1 << id);
        publish(x, 1 << id);
        leave(x, 1 << id);
        x = 0;
        invariants();
        goto end
    }
#endif
    fi
}

#if READERS
/* One router's map, shared by its readers and as old as the cluster in the beginning. */
byte mapOwner;
byte mapEpoch;
byte answered;

/* Reads the room once. An answer that was long on its way meets a map that others have renewed. */
proctype Reader() {
    byte want, wantGone, asked, to, epoch;
end:
    atomic { want = acknowledged; wantGone = gone; asked = mapOwner }
ask:
    if
    :: atomic {
        shard[asked].state == ACTIVE ->
#ifdef READ_IN_TWO_STATEMENTS
        goto later
    }
later:
    atomic {
#endif
        assert((shard[asked].rows & want) == want);         /* a read misses a write */
        assert((shard[asked].rows & wantGone) == 0);        /* a read shows what was deleted */
        goto done
    }
#ifdef READ_WHILE_FENCED
    :: atomic {
        shard[asked].state == FENCED ->
        assert((shard[asked].rows & want) == want);         /* a read misses a write */
        assert((shard[asked].rows & wantGone) == 0);        /* a read shows what was deleted */
        goto done
    }
#else
    :: atomic {
        /* Wait in the router and probe the target; the map stays as it is. */
        shard[asked].state == FENCED && asked == mapOwner ->
        asked = target[shard[asked].move]; goto ask
    }
#endif
    :: atomic {
        shard[asked].state == MOVED ->
        /* Along every chain epochs rise, so chains end. */
        assert(asked != mapOwner || shard[asked].epoch > mapEpoch); /* a chain does not rise */
        to = shard[asked].movedTo; epoch = shard[asked].epoch; goto learn
    }
    :: atomic {
        catalogEpoch > mapEpoch ->
        mapOwner = owner; mapEpoch = catalogEpoch; asked = owner; goto ask
    }
    :: atomic { asked != mapOwner && shard[asked].state != ACTIVE -> asked = mapOwner; goto ask }
    fi;
learn:
    atomic {
        if
        :: mayFollow ->
            assert(epoch >= mapEpoch);                      /* the map goes back in time */
            mapOwner = to; mapEpoch = epoch
        :: else
        fi;
        to = 0; epoch = 0; asked = mapOwner;
        goto ask
    }
done:
    atomic { want = 0; wantGone = 0; asked = 0; answered++ }
}
#endif

/* ---- Runners ---- */

#ifdef CALM
#define mayResume (!calm || i == 0)
#define mayOpen (!calm)
#else
#define mayResume true
/* Runners are alike, so number 0 may as well be the one who opens the first move. */
#define mayOpen (used > 0 || i == 0)
#endif

#define hasOldFence (isAt(A, FENCED, M) && A.attempt <= k[i])

/* Shards 1 and 2 are alike at first, so the first target may as well be 1. */
#define mayBeTarget(b) (owner != b && (used > 0 || b == 1))

#define isLeftover(m) \
    (journal[m] == DONE && isAt(shard[source[m]], MOVED, m) && shard[source[m]].rows != 0)

mtype:step = {
    Idle, Look, Prepare, Wipe, WipeLater, Import, Publish, CreateSlot, CopyFirst, CopyRest,
    CopyLater, Subscribe, Attach, Fence, Drain, AwaitHolders, CatchUp, Detach, Commit,
    SwitchSource, SwitchCatalog, DropSlot, Close, Purge,
    Tombstone, DropSubscription, AbortSlot, AbortSource, AbortCopy, AbortClose,
    Lift, Reopen
};

inline relax() { waitFor[i] = 0; ahead[i] = 0; drained[i] = 0; k[i] = 0 }
inline rest() { relax(); runs[i] = 0; snapshot = 0; at = Idle }
inline go(next) {
    at = next;
    if
    :: at == Idle -> rest()
    :: else
    fi
}

/* Everybody who works on moves: opens them, resumes, aborts, lifts a fence, purges. One option of
 * the loop is one step. Where a statement changed no row, the runner looks again. */
proctype Agent(byte i) {
    mtype:step at = Idle;
    byte snapshot;              /* what the copy will bring: A's rows when the slot was created */

end:
    do
    /* A crash, between any two steps. What this process does next, it does as somebody new. */
    :: atomic { at != Idle && !calm -> rest() }

    /* Which work? The one who asks has read the journal, and nothing else yet. */
    :: atomic {
        at == Idle && mayResume && openMove != 0 ->
        runs[i] = openMove; at = Look
    }
    :: atomic {                 /* abort */
        at == Idle && !calm && openMove != 0 ->
        runs[i] = openMove; at = FirstOfAbort
    }
    :: atomic {                 /* the fence is too old: lift it */
        at == Idle && !calm && openMove != 0 && isAt(shard[source[openMove]], FENCED, openMove) &&
        isAt(shard[target[openMove]], IMPORTING, openMove) &&
        shard[target[openMove]].attempt < LIFTS ->
        runs[i] = openMove; k[i] = B.attempt; at = FirstOfLift
    }
    :: atomic { at == Idle && isLeftover(1) -> runs[i] = 1; at = Purge }
#if MOVES > 1
    :: atomic { at == Idle && isLeftover(2) -> runs[i] = 2; at = Purge }
#endif
#if MOVES > 2
    :: atomic { at == Idle && isLeftover(3) -> runs[i] = 3; at = Purge }
#endif

    /* 1, catalog: owner and epoch are read in the statement that opens the move. */
    :: atomic {
        at == Idle && mayOpen && openMove == 0 && used < MOVES ->
        if
        :: mayBeTarget(0) -> target[used + 1] = 0
        :: mayBeTarget(1) -> target[used + 1] = 1
#if SHARDS > 2
        :: mayBeTarget(2) -> target[used + 1] = 2
#endif
        fi;
        used++;
        source[used] = owner; epochBefore[used] = catalogEpoch;
        journal[used] = OPEN; openMove = used;
        runs[i] = used; at = Prepare
    }

    /* The decision table. Of its two columns B's alone decides: where A's differs, the next step's
     * own condition at A tells, and "anything else" ends there. While the journal says open, a
     * tombstone means that the abort goes on, whatever A looks like. */
    :: atomic {
        at == Look ->
        relax(); snapshot = 0;
#ifdef CALM
        if
        :: calm && i == 0 ->
            resumes++;
            assert(resumes <= RESUMES)                      /* a move does not close */
        :: else
        fi;
#endif
        if
        :: isAt(B, ACTIVE, M) -> at = SwitchSource
        :: (B.state == NONE || B.state == MOVED) && B.barred < M -> at = Prepare
        :: isAt(B, PREPARING, M) -> at = Wipe
        :: isAt(B, IMPORTING, M) ->
            if
            :: subscription[M] == NO_SUBSCRIPTION -> at = WithoutSubscription
            :: subscription[M] != NO_SUBSCRIPTION && !replicationSlot[M] -> at = Tombstone
            :: subscription[M] == DETACHED && replicationSlot[M] -> at = Attach
            :: subscription[M] == RUNNING && replicationSlot[M] -> k[i] = B.attempt; at = Fence
            fi
        :: isAt(B, NONE, M) && B.barred == M && mayFinishAbort -> at = DropSubscription
        :: else -> rest()                                   /* m is closed */
        fi
    }

    /* 2, at B */
    :: atomic {
        at == Prepare ->
        if
        :: (B.state == NONE || B.state == MOVED) && mayPrepare ->
            B.state = PREPARING; B.move = M; B.attempt = 0; at = Wipe;
            invariants()
        :: else -> at = Look
        fi
    }

    /* 3, at B. Each batch holds the slot's row, which makes looking and deleting one step. */
    :: atomic {
        at == Wipe ->
        if
        :: isAt(B, PREPARING, M) ->
#ifdef WIPE_WITHOUT_LOCK
            at = WipeLater
        :: else -> at = Look
        fi
    }
    :: atomic {
        at == WipeLater ->
        if
        :: true ->
#endif
            deleteAll(target[M]); at = Import;
            invariants()
#ifndef WIPE_WITHOUT_LOCK
        :: else -> at = Look
#endif
        fi
    }

    /* 3, at B. Whoever takes this step, and nobody else, copies: a half copy is never adopted. */
    :: atomic {
        at == Import ->
        if
        :: isAt(B, PREPARING, M) ->
            assert(B.rows == 0);                            /* importing into leftovers */
            B.state = IMPORTING; at = FirstOfCopy;
            invariants()
        :: else -> at = Look
        fi
    }

    /* 4, at A: no condition, so a sleeper may leave these behind long after its move was closed. */
    :: atomic { at == Publish -> publication[M] = 1; at = AfterPublish }
    :: atomic {
        at == CreateSlot ->
        reached(9, journal[M] == ABORTED);
        replicationSlot[M] = 1; snapshot = A.rows; at = AfterCreateSlot;
#if REACH
        copier = i
#endif
    }

    /* 4, at B: two transactions, so that a half copy exists. That the row is locked until the
     * commit makes looking and copying one step. */
    :: atomic {
        at == CopyFirst ->
        if
        :: isAt(B, IMPORTING, M) ->
            copyInto(target[M], snapshot & 1); at = CopyRest;
            invariants()
        :: else -> at = Look
        fi
    }
    :: atomic {
        at == CopyRest ->
        if
        :: isAt(B, IMPORTING, M) ->
#ifdef COPY_WITHOUT_LOCK
            at = CopyLater
        :: else -> at = Look
        fi
    }
    :: atomic {
        at == CopyLater ->
        if
        :: true ->
#endif
            copyInto(target[M], snapshot & ~1); snapshot = 0; at = Subscribe;
            invariants()
#ifndef COPY_WITHOUT_LOCK
        :: else -> at = Look
#endif
        fi
    }

    /* 4', at B */
    :: atomic {
        at == Subscribe ->
        if
        :: maySubscribe && subscription[M] == NO_SUBSCRIPTION ->
            subscription[M] = RUNNING;
            invariants()
        :: else
        fi;
        at = Look
    }
    :: atomic {
        at == Attach ->
        if
        :: subscription[M] == DETACHED -> subscription[M] = RUNNING
        :: else
        fi;
        at = Look
    }

    /* 5, at A: one statement for the first time and for every resume. */
    :: atomic {
        at == Fence ->
        if
        :: A.state == ACTIVE && epochAllowsFence && mayFence ->
            reached(3, k[i] > 0);
            A.state = FENCED; A.move = M; A.attempt = k[i]; at = Drain;
            invariants()
        :: isAt(A, FENCED, M) && mayFenceAgain ->
            A.attempt = k[i]; at = AfterFenceAgain
        :: else -> at = Look
        fi
    }

    /* 5, the drain: the holders are taken once, after the fence is committed. */
    :: atomic { at == Drain -> waitFor[i] = holdersToWaitFor; at = AwaitHolders }
    :: atomic {
        at == AwaitHolders && waitFor[i] == 0 ->
        ahead[i] = len(stream[M]);                          /* L */
        drained[i] = 1; at = AfterDrain
    }

    /* 6: until B has applied what lies before L, or it never will. */
    :: atomic {
        at == CatchUp && ahead[i] == 0 && replicationSlot[M] &&
        subscription[M] != NO_SUBSCRIPTION ->
        at = Detach
    }
    :: atomic { at == CatchUp && (subscription[M] != RUNNING || !replicationSlot[M]) -> at = Look }

    /* 7, at B: the subscription lets go of its slot, perhaps in a transaction of its own. */
    :: atomic {
        at == Detach ->
#ifdef ATTEMPT_READ_ANEW
        k[i] = B.attempt;
#endif
        if
        :: subscription[M] != NO_SUBSCRIPTION -> subscription[M] = DETACHED; at = Commit
        :: else -> at = Look
        fi
    }

    /* 7, at B: the commit point. */
    :: atomic {
        at == Commit ->
        if
        :: isAt(B, IMPORTING, M) && B.attempt == k[i] ->
            assert(B.rows == A.rows);                       /* the comparison of step 6 */
            assert(A.holders == 0);                         /* a writer outlived the drain */
            B.state = ACTIVE; raiseEpoch(B, epochBefore[M] + 1); bar(B, M);
#ifndef COMMIT_WITHOUT_DROP_SUBSCRIPTION
            subscription[M] = NO_SUBSCRIPTION; forget(M);
#endif
            relax(); at = SwitchSource;
            reached(4, copier != i);
            invariants()
        :: else ->
            reached(8, isAt(B, IMPORTING, M));
#ifdef COMMIT_AGAIN_WITHOUT_FENCE
            if
            :: isAt(B, IMPORTING, M) -> k[i] = B.attempt; at = CatchUp
            :: else -> at = Look
            fi
#else
            at = Look
#endif
        fi
    }

    /* 8, at A */
    :: atomic {
        at == SwitchSource ->
        if
        :: maySwitchSource ->
            A.state = MOVED; A.movedTo = target[M]; raiseEpoch(A, epochBefore[M] + 1); bar(A, M);
            at = SwitchCatalog;
            invariants()
        :: isAt(A, MOVED, M) -> at = SwitchCatalog
        :: else -> rest()
        fi
    }

    /* 9, catalog */
    :: atomic {
        at == SwitchCatalog ->
        if
        :: maySwitchCatalog ->
            assert(catalogEpoch <= epochBefore[M] + 1);     /* the catalog goes back in time */
            owner = target[M]; catalogEpoch = epochBefore[M] + 1
        :: else
        fi;
        at = DropSlot
    }

    /* 10, at A */
    :: atomic {
        at == DropSlot ->
        replicationSlot[M] = 0; publication[M] = 0; forget(M); at = Close
    }

    /* 11, catalog */
    :: atomic {
        at == Close ->
        if
        :: journal[M] == OPEN ->
            journal[M] = DONE; openMove = 0;
            reached(1, true);
            reached(6, M == 2 && target[2] == source[1]);
            invariants()
        :: else
        fi;
        rest()
    }

    /* 12, at A: each batch holds the slot's row. */
    :: atomic {
        at == Purge ->
        if
        :: mayPurge -> deleteAll(source[M]); invariants()
        :: else -> reached(10, A.state == ACTIVE)
        fi;
        rest()
    }

    /* Abort. The tombstone at B is the abort; if B is active by m, looking again rolls forward. */
    :: atomic {
        at == Tombstone ->
        if
        :: isAt(B, PREPARING, M) || isAt(B, IMPORTING, M) ||
            ((B.state == NONE || B.state == MOVED) && B.barred < M) ->
            B.state = NONE; B.move = M;
#ifndef TOMBSTONE_WITHOUT_BARRED
            bar(B, M);
#endif
            relax(); at = DropSubscription;
            invariants()
        :: else ->
            reached(7, isAt(B, ACTIVE, M));
            at = Look
        fi
    }

    /* at B; DROP waits for the worker's end */
    :: atomic {
        at == DropSubscription ->
        subscription[M] = NO_SUBSCRIPTION; forget(M); at = AbortSlot
    }

    /* at A */
    :: atomic {
        at == AbortSlot ->
        replicationSlot[M] = 0; publication[M] = 0; forget(M); at = AfterAbortSlot
    }

    /* at A */
    :: atomic {
        at == AbortSource ->
        if
        :: isAt(A, FENCED, M) -> reached(2, true); A.state = ACTIVE
        :: else
        fi;
        if
        :: mayBarSource -> bar(A, M)
        :: else
        fi;
        at = AfterAbortSource;
        invariants()
    }

    /* the partial copy at B: each batch holds the slot's row */
    :: atomic {
        at == AbortCopy ->
        if
        :: isAt(B, NONE, M) -> deleteAll(target[M]); invariants()
        :: else
        fi;
        at = AbortClose
    }

    /* the journal */
    :: atomic {
        at == AbortClose ->
        if
        :: journal[M] == OPEN -> journal[M] = ABORTED; openMove = 0; invariants()
        :: else
        fi;
        rest()
    }

    /* Lifting the fence without aborting, first at B: from here on nobody commits with k. */
    :: atomic {
        at == Lift ->
        if
        :: isAt(B, IMPORTING, M) && B.attempt == k[i] && k[i] < LIFTS ->
            B.attempt = k[i] + 1; go(AfterLift);
            invariants()
        :: isAt(B, ACTIVE, M) -> at = Look
        :: isAt(B, IMPORTING, M) && B.attempt > k[i] ->
            if                  /* go on with that one: raise it, or finish what its lifter began */
            :: B.attempt < LIFTS -> k[i] = B.attempt
#ifdef GO_ON_WITHOUT_RAISING
            :: k[i] = B.attempt; at = Reopen
#else
            :: k[i] = B.attempt - 1; go(AfterLift)
#endif
            fi
        :: else -> rest()
        fi
    }

    /* then at A: any fence that is not younger than that. */
    :: atomic {
        at == Reopen ->
        if
        :: isAt(A, FENCED, M) && isOldEnough -> A.state = ACTIVE; invariants()
        :: else -> assert(!hasOldFence)                     /* a lift leaves an old fence */
        fi;
        go(AfterReopen)
    }
    od
}

/* Drops what sleepers have left behind under the ids of closed moves. */
proctype Janitor() {
end:
    do
    :: atomic { journal[1] > OPEN && (publication[1] || replicationSlot[1]) ->
        publication[1] = 0; replicationSlot[1] = 0; forget(1) }
#if MOVES > 1
    :: atomic { journal[2] > OPEN && (publication[2] || replicationSlot[2]) ->
        publication[2] = 0; replicationSlot[2] = 0; forget(2) }
#endif
#if MOVES > 2
    :: atomic { journal[3] > OPEN && (publication[3] || replicationSlot[3]) ->
        publication[3] = 0; replicationSlot[3] = 0; forget(3) }
#endif
    od
}

#if LOSSES
/* max_slot_wal_keep_size, or a failover before PostgreSQL 17. */
proctype Misfortune() {
end:
    atomic { openMove != 0 && replicationSlot[openMove] && !lost && !calm ->
        replicationSlot[openMove] = 0; forget(openMove); lost = 1 }
}
#endif

#define isBusy(i, x) (runs[i] != 0)
#define noArtefact(m, x) \
    (!publication[m] && !replicationSlot[m] && subscription[m] == NO_SUBSCRIPTION)

/* Faults stop, and when nothing more can happen, everything must be in its place. */
proctype Weather() {
end:
    calm = 1;
end2:
    atomic {
        timeout ->
        assert(openMove == 0);                              /* a move stays open */
        assert(noAgent(isBusy, 0));                         /* a runner waits for ever */
        assert(shard[owner].state == ACTIVE);               /* catalog and shards disagree */
        assert(shard[owner].epoch == catalogEpoch);         /* catalog and shards disagree */
        assert(allMoves(noArtefact, 0));                    /* something is left behind */
        assert((acknowledged | gone) == (2 << WRITES) - 1); /* a writer waits for ever */
#if READERS
        assert(answered == READERS)                         /* a reader waits for ever */
#endif
    }
}

init {
    atomic {
        shard[0].state = ACTIVE; shard[0].rows = 1;
        shard[1].state = NONE;
#if SHARDS > 2
        shard[2].state = NONE;
#endif
        run Agent(0);
#if AGENTS > 1
        run Agent(1);
#endif
#if AGENTS > 2
        run Agent(2);
#endif
        run Worker(1);
#if MOVES > 1
        run Worker(2);
#endif
#if MOVES > 2
        run Worker(3);
#endif
#if WRITES > 0
        run Writer(1, 0);
#endif
#if WRITES > 1
        run Writer(2, 0);
#endif
#if WRITES > 2
        run Writer(3, 0);
#endif
#if DELETES
        run Writer(0, 1);
#endif
#if READERS
        run Reader();
#endif
#if READERS > 1
        run Reader();
#endif
        run Janitor();
#if LOSSES
        run Misfortune();
#endif
#ifdef CALM
        run Weather();
#endif
    }
}
