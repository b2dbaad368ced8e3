#include "worker.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double monotonic_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void fail(PGconn *connection, const char *what) {
    fprintf(stderr, "BareClient: %s: %s\n", what, PQerrorMessage(connection));
    exit(1);
}

static struct rooms made_up_rooms(int count) {
    struct rooms rooms = {calloc((size_t)count, room_bytes + 1), count};
    for (int index = 0; index < count; index++)
        snprintf(rooms.names[index], room_bytes + 1, "room-%031d", index);
    return rooms;
}

/// The rooms of this place, shared out among its connections: no two of them lock the same room.
static struct rooms rooms_of(const struct worker *worker, PGconn *connection) {
    const struct options *options = worker->options;
    if (!options->room_sql) return made_up_rooms(options->rooms);
    PGresult *result = PQexec(connection, options->room_sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) fail(connection, "cannot list rooms");
    int found = PQntuples(result);
    struct rooms rooms = {calloc((size_t)found + 1, room_bytes + 1), 0};
    for (int index = worker->number; index < found; index += options->connections)
        snprintf(rooms.names[rooms.count++], room_bytes + 1, "%s", PQgetvalue(result, index, 0));
    PQclear(result);
    if (!rooms.count) fail(connection, "there are no rooms");
    return rooms;
}

static void fill(
    struct parameters *parameters, const struct rooms *rooms, const struct options *options) {
    switch (options->kind) {
        case kind_append: parameters_fill_batch(parameters, rooms, options->batch); break;
        case kind_new: parameters_fill_new(parameters, rooms, options->batch); break;
        case kind_row: parameters_fill_row(parameters, rooms); break;
        case kind_page: parameters_fill_page(parameters, rooms, options->batch); break;
    }
}

/// Looks at every row of the answer, as any client has to.
static uint64_t check(
    PGconn *connection, const PGresult *result, const struct options *options) {
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) fail(connection, "refused");
    int rows = PQntuples(result);
    switch (options->kind) {
        case kind_row: return 1;
        case kind_new:
            if (rows != 1 || PQgetisnull(result, 0, 0)) fail(connection, "not stored");
            return (uint64_t)options->batch;
        case kind_page:
            if (rows != options->batch) fail(connection, "a page is not full");
            return (uint64_t)rows;
        case kind_append:
            if (status == PGRES_COMMAND_OK) return (uint64_t)options->batch;
            if (rows != options->batch) fail(connection, "answers are missing");
            for (int row = 0; row < rows; row++)
                if (strcmp(PQgetvalue(result, row, 0), "stored")) fail(connection, "not stored");
            return (uint64_t)rows;
    }
    return 0;
}

static void note(struct worker *worker, double seconds, size_t *capacity) {
    if (worker->count == *capacity) {
        *capacity = *capacity ? *capacity * 2 : 4096;
        worker->microseconds =
            realloc(worker->microseconds, *capacity * sizeof *worker->microseconds);
        if (!worker->microseconds) abort();
    }
    worker->microseconds[worker->count++] = (uint32_t)(seconds * 1e6);
}

void *worker_run(void *argument) {
    struct worker *worker = argument;
    const struct options *options = worker->options;
    PGconn *connection = PQconnectdb(worker->place);
    if (PQstatus(connection) != CONNECTION_OK) fail(connection, "cannot connect");
    struct rooms rooms = rooms_of(worker, connection);
    PGresult *prepared = PQprepare(connection, "s", options->sql, 0, NULL);
    if (PQresultStatus(prepared) != PGRES_COMMAND_OK) fail(connection, "cannot prepare");
    PQclear(prepared);

    struct parameters parameters = {.random = worker->seed};
    size_t capacity = 0;
    pthread_barrier_wait(worker->start);
    double begin = monotonic_seconds() + options->warmup;
    double end = begin + options->seconds;
    double now = monotonic_seconds();
    while (now < end) {
        fill(&parameters, &rooms, options);
        double sent = monotonic_seconds();
        PGresult *result = PQexecPrepared(
            connection, "s", parameters.count, parameters.values, parameters.lengths,
            parameters.formats, 1);
        uint64_t rows = check(connection, result, options);
        PQclear(result);
        now = monotonic_seconds();
        worker->all_rows += rows;
        if (sent >= begin) {
            worker->rows += rows;
            note(worker, now - sent, &capacity);
        }
    }
    worker->seconds = now - begin;
    PQfinish(connection);
    free(rooms.names);
    for (int index = 0; index < parameter_count; index++) free(parameters.buffers[index].bytes);
    return NULL;
}
