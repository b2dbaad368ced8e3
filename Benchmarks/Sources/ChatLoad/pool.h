// Clients of a chat server: their sockets, their heartbeats, and what they are told.

#ifndef pool_h
#define pool_h

#include <netinet/in.h>

#include "ledger.h"
#include "wheel.h"

enum phase { phase_away, phase_connecting, phase_upgrading, phase_joining, phase_joined };

struct client {
    int socket;
    enum phase phase;
    uint32_t room;
    /// Whether it has ever joined: then it comes back and keeps what it has.
    bool is_known;
    /// Whether it may send its next message when the last one is stored.
    bool is_in_turn;
    struct reader reader;
    /// The beginning of a frame whose end has not come.
    char *rest;
    size_t rest_bytes;
    /// What the socket has not taken.
    char *unsent;
    size_t unsent_bytes;
};

struct pool {
    struct client *clients;
    /// Places, and those that are in use.
    uint32_t client_room, client_count;
    uint32_t joined, opening;
    int epoll;
    uint16_t port;
    char room_prefix[32];
    /// The text of each message.
    char text[4096];
    bool beats;
    /// Told by the server, in milliseconds.
    int64_t beat_min, beat_max, reconnect_min, reconnect_max;
    uint64_t random;
    uint32_t nonce;
    struct wheel wheel;
    struct ledger ledger;
    /// Called when a client's message is stored and it is in turn.
    void (*turn)(struct pool *pool, uint32_t client, int64_t now);
    /// Where everything is received: the frames, or as much as there is, of one socket.
    char *buffer;
    size_t buffer_bytes;
};

int64_t monotonic_now(void);
void pool_make(struct pool *pool, uint32_t clients, uint16_t port);
/// Makes a place for `count` more clients, spread over rooms whose names begin with the prefix.
void pool_add(struct pool *pool, uint32_t count, uint32_t rooms);
/// Begins to connect; the client then joins, and comes again when it is refused.
void pool_open(struct pool *pool, uint32_t client);
/// Lets the socket go with a reset.
void pool_cut(struct pool *pool, uint32_t client);
/// Sends a message that was due at `due`.
///
/// - Returns: false when the client is not in its room: nothing was sent.
bool pool_send(struct pool *pool, uint32_t client, int64_t due, int64_t now);
/// Tells the server what the client has.
void pool_beat(struct pool *pool, uint32_t client);
/// Does what is due and what has arrived; waits for it no longer than until `until`.
///
/// - Returns: whether there is something to read at the standard input.
bool pool_turn(struct pool *pool, int64_t until);
/// Evenly spread.
int64_t pool_random(struct pool *pool, int64_t lower, int64_t upper);

#endif
