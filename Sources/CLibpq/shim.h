#ifndef SHARDCHAT_CLIBPQ_H
#define SHARDCHAT_CLIBPQ_H

#include <libpq-fe.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

// Swift cannot see these: they are a macro's value and an anonymous union's member.
static inline int shim_epoll_control(int epoll, int operation, int fd, unsigned int events) {
    struct epoll_event event = { .events = events, .data = { .fd = fd } };
    return epoll_ctl(epoll, operation, fd, &event);
}

static inline int shim_epoll_fd(const struct epoll_event *event) { return event->data.fd; }

enum {
    shim_epoll_in = EPOLLIN,
    shim_epoll_out = EPOLLOUT,
    shim_epoll_oneshot = EPOLLONESHOT
};

#endif
