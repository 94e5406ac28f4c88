/* The origin of the price bench: answers at the least cost that sockets allow, so that what is measured is the proxy before it.
 *
 *   origin PORT THREADS
 *
 * GET              200 and 1 KiB of JSON
 * GET /bytes/N     200 and N bytes
 * GET /echo        200 and the head as it came
 * GET /credentials 200 and [], for a Fairlead that asks Clouddriver for its accounts
 * POST, PUT        reads the body that Content-Length announces, then 200 and 1 KiB
 *
 * One thread accepts and deals the connections out in turn, so that each of the others has as many as the next. It is no server: whatever
 * it does not expect ends the connection, and the bench with it. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { HEAD = 16 * 1024, CHUNK = 1024 * 1024, SMALL = 1024 };

struct connection {
  int fd;
  size_t have;                  /* bytes of the head so far */
  unsigned long long body, out; /* bytes of the body still to come, of the answer still to go */
  char head[HEAD];
};

static char small[2048], none[1024], zeros[CHUNK];
static size_t small_length, none_length;

static char *answer_head(char *to, size_t room, unsigned long long length) {
  snprintf(to, room,
           "HTTP/1.1 200 \r\nX-SPINNAKER-REQUEST-ID: 7b0e8a44-6a0c-4c39-a1f5-0d6ff0a4c3a7\r\nX-Content-Type-Options: nosniff\r\n"
           "X-XSS-Protection: 0\r\nCache-Control: no-cache, no-store, max-age=0, must-revalidate\r\nContent-Type: application/json\r\n"
           "Content-Length: %llu\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\n\r\n",
           length);
  return to;
}

/* All of it goes into the socket's buffer at once or the connection ends: nothing this short ever has to wait. */
static int put(int fd, const char *bytes, size_t length) { return write(fd, bytes, length) == (ssize_t)length; }

static void watch(int epoll, struct connection *c, unsigned events, int op) {
  struct epoll_event e = {.events = events, .data.ptr = c};
  if (epoll_ctl(epoll, op, c->fd, &e)) { perror("epoll_ctl"); exit(1); }
}

/* Sends what is left of /bytes/N; asks for EPOLLOUT only while there is something left. */
static int send_more(int epoll, struct connection *c) {
  while (c->out) {
    ssize_t n = write(c->fd, zeros, c->out < CHUNK ? c->out : CHUNK);
    if (n <= 0) {
      watch(epoll, c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
      return 1;
    }
    c->out -= n;
  }
  watch(epoll, c, EPOLLIN, EPOLL_CTL_MOD);
  return 1;
}

/* A whole head is there, `length` bytes with its empty line. */
static int answer(int epoll, struct connection *c, size_t length) {
  char head[1024];
  if (!memcmp(c->head, "GET ", 4)) {
    if (c->have != length) return 0;
    c->have = 0;
    if (!memcmp(c->head + 4, "/echo ", 6))
      return put(c->fd, head, strlen(answer_head(head, sizeof head, length))) && put(c->fd, c->head, length);
    if (!memcmp(c->head + 4, "/credentials", 12)) return put(c->fd, none, none_length);
    if (memcmp(c->head + 4, "/bytes/", 7)) return put(c->fd, small, small_length);
    c->out = strtoull(c->head + 11, NULL, 10);
    return put(c->fd, head, strlen(answer_head(head, sizeof head, c->out))) && send_more(epoll, c);
  }
  const char *announced = strcasestr(c->head, "\r\ncontent-length:");
  if (!announced) return 0;
  c->body = strtoull(announced + 17, NULL, 10);
  if (c->have - length > c->body) return 0;
  c->body -= c->have - length;
  c->have = 0;
  return c->body || put(c->fd, small, small_length);
}

static int readable(int epoll, struct connection *c, char *sink) {
  if (c->body) {
    ssize_t n = read(c->fd, sink, c->body < CHUNK ? c->body : CHUNK);
    if (n <= 0) return 0;
    c->body -= n;
    return c->body || put(c->fd, small, small_length);
  }
  ssize_t n = read(c->fd, c->head + c->have, HEAD - 1 - c->have);
  if (n <= 0) return 0;
  c->have += n;
  c->head[c->have] = 0;
  char *end = memmem(c->head, c->have, "\r\n\r\n", 4);
  if (!end) return c->have < HEAD - 1;
  return answer(epoll, c, end + 4 - c->head);
}

static void *work(void *argument) {
  int epoll = (int)(long)argument;
  char *sink = malloc(CHUNK);
  struct epoll_event events[128];
  for (;;) {
    int n = epoll_wait(epoll, events, 128, -1);
    for (int i = 0; i < n; i++) {
      struct connection *c = events[i].data.ptr;
      int goes_on = 1;
      if (events[i].events & EPOLLOUT) goes_on = send_more(epoll, c);
      if (goes_on && events[i].events & ~EPOLLOUT) goes_on = readable(epoll, c, sink);
      if (!goes_on) { /* the other side is done, or did what nobody does here */
        close(c->fd);
        free(c);
      }
    }
  }
  return NULL;
}

int main(int count, char **arguments) {
  if (count != 3) return 64;
  int threads = atoi(arguments[2]), on = 1, epolls[64];
  if (threads < 1 || threads > 64) return 64;
  signal(SIGPIPE, SIG_IGN);
  size_t head = strlen(answer_head(small, sizeof small, SMALL));
  memset(small + head, 'x', SMALL);
  memcpy(small + head, "[{\"name\":\"", 10);
  memcpy(small + head + SMALL - 3, "\"}]", 3);
  small_length = head + SMALL;
  none_length = strlen(strcat(answer_head(none, sizeof none, 2), "[]"));

  int listener = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) { perror("listen"); return 1; }
  for (int i = 0; i < threads; i++) {
    pthread_t thread;
    epolls[i] = epoll_create1(0);
    if (pthread_create(&thread, NULL, work, (void *)(long)epolls[i])) return 1;
  }
  for (unsigned next = 0;; next++) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) { perror("accept"); continue; }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct connection *c = malloc(sizeof *c);
    if (!c) return 1;
    c->fd = fd;
    c->have = c->body = c->out = 0;
    watch(epolls[next % threads], c, EPOLLIN, EPOLL_CTL_ADD);
  }
}
