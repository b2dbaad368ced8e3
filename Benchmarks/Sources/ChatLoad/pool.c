#define _GNU_SOURCE
#include "pool.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "chat.h"
#include "frames.h"

static const uint32_t standard_input = UINT32_MAX;

int64_t monotonic_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static uint64_t next_random(struct pool *pool) {
    uint64_t value = pool->random += 0x9e3779b97f4a7c15;
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
    value = (value ^ value >> 27) * 0x94d049bb133111eb;
    return value ^ value >> 31;
}

int64_t pool_random(struct pool *pool, int64_t lower, int64_t upper) {
    return lower + (int64_t)(next_random(pool) % (uint64_t)(upper - lower + 1));
}

void pool_make(struct pool *pool, uint32_t clients, uint16_t port) {
    pool->client_room = clients;
    pool->clients = calloc(clients, sizeof *pool->clients);
    pool->ledger.rooms = calloc(clients, sizeof *pool->ledger.rooms);
    pool->buffer_bytes = 1 << 20;
    pool->buffer = malloc(pool->buffer_bytes);
    pool->epoll = epoll_create1(0);
    if (!pool->clients || !pool->ledger.rooms || !pool->buffer || pool->epoll < 0) abort();
    pool->port = port;
    pool->beats = true;
    pool->random = (uint64_t)monotonic_now() ^ (uint64_t)getpid() << 32;
    pool->nonce = (uint32_t)next_random(pool);
    wheel_make(&pool->wheel, clients, monotonic_now());
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = standard_input};
    epoll_ctl(pool->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event);
}

void pool_add(struct pool *pool, uint32_t count, uint32_t rooms) {
    uint32_t last = pool->client_count + count;
    if (last > pool->client_room) {
        fprintf(stderr, "ChatLoad: no place for %u clients\n", last);
        exit(1);
    }
    for (uint32_t index = pool->client_count; index < last; index++) {
        struct client *client = &pool->clients[index];
        *client = (struct client){.socket = -1, .room = index % rooms};
        pool->ledger.rooms[client->room].readers++;
    }
    pool->client_count = last;
    if (rooms > pool->ledger.room_count) pool->ledger.room_count = rooms;
}

static void watch(struct pool *pool, uint32_t index, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.u32 = index};
    if (epoll_ctl(pool->epoll, operation, pool->clients[index].socket, &event)) {
        perror("ChatLoad: epoll_ctl");
        exit(1);
    }
}

void pool_open(struct pool *pool, uint32_t index) {
    struct client *client = &pool->clients[index];
    client->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->socket < 0) {
        perror("ChatLoad: socket");
        exit(1);
    }
    int yes = 1;
    setsockopt(client->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    // A few thousand clients for each address: the ports of one would run out.
    setsockopt(client->socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    struct sockaddr_in own = {.sin_family = AF_INET};
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + index / 4000);
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(pool->port)};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(client->socket, (struct sockaddr *)&own, sizeof own) ||
        (connect(client->socket, (struct sockaddr *)&server, sizeof server) &&
         errno != EINPROGRESS)) {
        perror("ChatLoad: connect");
        exit(1);
    }
    client->phase = phase_connecting;
    pool->opening++;
    watch(pool, index, EPOLL_CTL_ADD, EPOLLOUT);
}

static void forget(struct pool *pool, uint32_t index) {
    struct client *client = &pool->clients[index];
    if (client->phase == phase_away) return;
    if (client->phase == phase_joined) pool->joined--;
    else pool->opening--;
    close(client->socket);
    client->socket = -1;
    client->phase = phase_away;
    free(client->rest);
    free(client->unsent);
    client->rest = client->unsent = NULL;
    client->rest_bytes = client->unsent_bytes = 0;
    wheel_clear(&pool->wheel, index);
}

void pool_cut(struct pool *pool, uint32_t index) {
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    int socket = pool->clients[index].socket;
    if (socket >= 0) setsockopt(socket, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    forget(pool, index);
}

/// The server has ended the connection, or never made it: the client comes again.
static void lost(struct pool *pool, uint32_t index, int64_t now) {
    if (pool->clients[index].phase == phase_joined) pool->ledger.counts.closed++;
    else pool->ledger.counts.failed++;
    forget(pool, index);
    wheel_set(&pool->wheel, index, now + pool_random(pool, 200, 1000) * 1000000, now);
}

static void put(struct pool *pool, uint32_t index, const char *bytes, size_t count) {
    struct client *client = &pool->clients[index];
    if (!client->unsent_bytes) {
        ssize_t sent = send(client->socket, bytes, count, MSG_NOSIGNAL);
        if (sent == (ssize_t)count) return;
        if (sent < 0 && errno != EAGAIN) return;  // Reading will tell.
        if (sent > 0) {
            bytes += sent;
            count -= (size_t)sent;
        }
        watch(pool, index, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
    client->unsent = realloc(client->unsent, client->unsent_bytes + count);
    if (!client->unsent) abort();
    memcpy(client->unsent + client->unsent_bytes, bytes, count);
    client->unsent_bytes += count;
}

static void put_frame(
    struct pool *pool, uint32_t index, int opcode, const char *payload, size_t bytes) {
    char frame[8192 + frame_header_bytes];
    put(pool, index, frame,
        frame_write(frame, opcode, payload, bytes, (uint32_t)next_random(pool)));
}

/// RFC 3339 with milliseconds; the day is formatted once a second.
static const char *wall_time(void) {
    static time_t second;
    static char text[40];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != second) {
        struct tm parts;
        second = now.tv_sec;
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S.000Z", gmtime_r(&second, &parts));
    }
    int milliseconds = (int)(now.tv_nsec / 1000000);
    text[20] = (char)('0' + milliseconds / 100);
    text[21] = (char)('0' + milliseconds / 10 % 10);
    text[22] = (char)('0' + milliseconds % 10);
    return text;
}

bool pool_send(struct pool *pool, uint32_t index, int64_t due, int64_t now) {
    struct client *client = &pool->clients[index];
    if (client->phase != phase_joined) return false;
    uint64_t number = ledger_send(&pool->ledger, client->room, due, now);
    char text[8192];
    int bytes = snprintf(
        text, sizeof text,
        "{\"type\":\"message\",\"id\":\"%08x-0000-4000-8000-%012lx\",\"sentAt\":\"%s\","
        "\"text\":\"%s\"}",
        pool->nonce, (unsigned long)number, wall_time(), pool->text);
    put_frame(pool, index, frame_text, text, (size_t)bytes);
    return true;
}

void pool_beat(struct pool *pool, uint32_t index) {
    char text[96];
    int bytes = snprintf(
        text, sizeof text, "{\"amhere\":true,\"seen\":{\"upTo\":%ld}}",
        (long)reader_up_to(&pool->clients[index].reader));
    put_frame(pool, index, frame_text, text, (size_t)bytes);
    pool->ledger.counts.beats++;
}

static void upgrade(struct pool *pool, uint32_t index) {
    struct client *client = &pool->clients[index];
    char request[512];
    int bytes = snprintf(
        request, sizeof request,
        "GET /v1/rooms/%s%u/socket?user=u%u HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: chat.v1\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        pool->room_prefix, client->room, index, pool->port);
    client->phase = phase_upgrading;
    watch(pool, index, EPOLL_CTL_MOD, EPOLLIN);
    put(pool, index, request, (size_t)bytes);
}

static void writable(struct pool *pool, uint32_t index, int64_t now) {
    struct client *client = &pool->clients[index];
    if (client->phase == phase_connecting) {
        int error = 0;
        socklen_t length = sizeof error;
        getsockopt(client->socket, SOL_SOCKET, SO_ERROR, &error, &length);
        if (error) lost(pool, index, now);
        else upgrade(pool, index);
        return;
    }
    char *unsent = client->unsent;
    size_t bytes = client->unsent_bytes;
    client->unsent = NULL;
    client->unsent_bytes = 0;
    watch(pool, index, EPOLL_CTL_MOD, EPOLLIN);
    if (bytes) put(pool, index, unsent, bytes);
    free(unsent);
}

/// - Returns: the bytes of the answer's head; 0 while it is not whole, -1 when it is a refusal.
static long read_answer(struct pool *pool, const char *bytes, size_t count) {
    const char *end = memmem(bytes, count, "\r\n\r\n", 4);
    if (!end) return 0;
    // What RFC 6455 answers to the key that it uses itself.
    static const char accept[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    if (memmem(bytes, count, " 101 ", 5) && memmem(bytes, count, accept, sizeof accept - 1))
        return end + 4 - bytes;
    ledger_complain(&pool->ledger, bytes, count < 120 ? count : 120);
    return -1;
}

/// - Returns: the bytes that were used; -1 when the client has gone.
static long take(
    struct pool *pool, uint32_t index, const char *bytes, size_t count, int64_t now) {
    struct client *client = &pool->clients[index];
    size_t used = 0;
    if (client->phase == phase_upgrading) {
        long head = read_answer(pool, bytes, count);
        if (head <= 0) return head;
        used = (size_t)head;
        client->phase = phase_joining;
    }
    while (true) {
        struct frame frame;
        long taken = frame_read(bytes + used, count - used, &frame);
        if (taken < 0) pool->ledger.counts.unknown++;
        if (taken < 0) return -1;
        if (taken == 0) return (long)used;
        used += (size_t)taken;
        switch (frame.opcode) {
            case frame_text: chat_receive(pool, index, frame.payload, frame.bytes, now); break;
            case frame_ping:
                put_frame(pool, index, frame_pong, frame.payload, frame.bytes);
                break;
            case frame_close: return -1;
            default: pool->ledger.counts.unknown++;
        }
    }
}

static void readable(struct pool *pool, uint32_t index) {
    struct client *client = &pool->clients[index];
    size_t rest = client->rest_bytes;
    if (rest >= pool->buffer_bytes / 2) {
        pool->buffer_bytes *= 2;
        pool->buffer = realloc(pool->buffer, pool->buffer_bytes);
        if (!pool->buffer) abort();
    }
    if (rest) memcpy(pool->buffer, client->rest, rest);
    ssize_t count = recv(client->socket, pool->buffer + rest, pool->buffer_bytes - rest, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    int64_t now = monotonic_now();
    if (count <= 0) return lost(pool, index, now);
    pool->ledger.counts.reads++;
    pool->ledger.counts.bytes += (uint64_t)count;
    size_t all = rest + (size_t)count;
    long used = take(pool, index, pool->buffer, all, now);
    if (used < 0) return lost(pool, index, now);
    size_t left = all - (size_t)used;
    if (left) {
        client->rest = realloc(client->rest, left);
        if (!client->rest) abort();
        memcpy(client->rest, pool->buffer + used, left);
    } else if (client->rest) {
        free(client->rest);
        client->rest = NULL;
    }
    client->rest_bytes = left;
}

/// Beats and comes back.
static void tick(struct pool *pool, int64_t now) {
    for (int32_t index; (index = wheel_take(&pool->wheel, now)) >= 0;) {
        uint32_t client = (uint32_t)index;
        switch (pool->clients[client].phase) {
            case phase_away: pool_open(pool, client); break;
            case phase_joined:
                if (pool->beats) pool_beat(pool, client);
                wheel_set(
                    &pool->wheel, client,
                    now + pool_random(pool, pool->beat_min, pool->beat_max) * 1000000, now);
                break;
            case phase_connecting:
            case phase_upgrading:
            case phase_joining: break;
        }
    }
}

bool pool_turn(struct pool *pool, int64_t until) {
    static struct epoll_event events[1024];
    bool has_input = false;
    int64_t now = monotonic_now();
    tick(pool, now);
    int64_t wait = until - monotonic_now();
    if (wait < 0) wait = 0;
    if (wait > 1000000) wait = 1000000;
    struct timespec time = {.tv_nsec = wait};
    int count = epoll_pwait2(pool->epoll, events, 1024, &time, NULL);
    for (int place = 0; place < count; place++) {
        uint32_t index = events[place].data.u32;
        if (index == standard_input) {
            has_input = true;
            continue;
        }
        if (pool->clients[index].phase == phase_away) continue;
        if (events[place].events & EPOLLOUT) writable(pool, index, now);
        if (pool->clients[index].phase == phase_away) continue;
        if (events[place].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(pool, index);
    }
    return has_input;
}
