/* One request to the node agent and its answer, within one deadline. */
#include "exchange.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <slurm/spank.h>

static const struct hook defaults = { .socket = "/run/openqse/node.sock", .timeout = 5 };

enum { PAUSE_MS = 50 }; /* between two tries to connect */

void hook_configure(struct hook *hook, int ac, char *av[])
{
	*hook = defaults;
	for (int i = 0; i < ac; i++) {
		if (strncmp(av[i], "socket=", 7) == 0) {
			const char *path = av[i] + 7;

			if (path[0] == '/' && strlen(path) < sizeof(hook->socket))
				strcpy(hook->socket, path);
			else
				slurm_error("openqse: plugstack.conf: %s: socket is an absolute "
					    "path of at most %zu bytes; going on with %s",
					    av[i], sizeof(hook->socket) - 1, hook->socket);
		} else if (strncmp(av[i], "timeout=", 8) == 0) {
			const char *digits = av[i] + 8;
			size_t length = strlen(digits);
			int seconds = atoi(digits);

			if (length >= 1 && length <= 2 && strspn(digits, "0123456789") == length &&
			    seconds >= 1 && seconds <= 60)
				hook->timeout = seconds;
			else
				slurm_error("openqse: plugstack.conf: %s: timeout is a whole "
					    "number of seconds from 1 to 60; going on with %d",
					    av[i], hook->timeout);
		} else {
			slurm_error("openqse: plugstack.conf: unknown argument '%s'; known are "
				    "socket=PATH and timeout=SECONDS",
				    av[i]);
		}
	}
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void fail_late(const struct hook *hook, struct failure *failure)
{
	failure_set_on_node(failure, REMEDY_CHECK_AGENT, "no answer within %d s", hook->timeout);
}

/*
 * Connects. A Unix socket whose backlog is full gives poll() nothing to wait for, so connect()
 * itself waits, bounded by the send timeout; everything after it is non-blocking. An agent that is
 * started again listens to nobody for a second: that must not fail the jobs that begin in it.
 */
static int connect_agent(const struct hook *hook, int64_t deadline, struct failure *failure)
{
	static const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000L };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0) {
		failure_set_on_node(failure, REMEDY_CHECK_AGENT, "cannot make a socket: %s",
				    strerror(errno));
		return -1;
	}
	memcpy(address.sun_path, hook->socket, sizeof(address.sun_path));
	for (;;) {
		int64_t left = deadline - now_ms();
		struct timeval wait = { .tv_sec = left / 1000, .tv_usec = left % 1000 * 1000 };

		if (left <= 0) {
			fail_late(hook, failure);
			goto fail;
		}
		if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) < 0)
			goto fail_connect;
		if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
			break;
		if (errno == EAGAIN) {
			fail_late(hook, failure);
			goto fail;
		}
		if ((errno == ENOENT || errno == ECONNREFUSED) && left > PAUSE_MS)
			nanosleep(&pause, NULL);
		else if (errno != EINTR)
			goto fail_connect;
	}
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		goto fail_connect;
	return fd;

fail_connect:
	if (errno == ENOENT || errno == ECONNREFUSED)
		failure_set_on_node(failure,
				    "Ask the administrator to start openqse-node-agent on this node",
				    "not running, nobody listens at %s", hook->socket);
	else
		failure_set_on_node(failure, REMEDY_CHECK_AGENT, "cannot connect to %s: %s",
				    hook->socket, strerror(errno));
fail:
	close(fd);
	return -1;
}

static int check_peer(int fd, const struct hook *hook, struct failure *failure)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) {
		failure_set_on_node(failure, REMEDY_CHECK_AGENT, "cannot tell who listens at %s: %s",
				    hook->socket, strerror(errno));
		return -1;
	}
	if (peer.uid != 0) {
		failure_set_on_node(failure,
				    "Ask the administrator to remove that socket and to start "
				    "openqse-node-agent as root",
				    "the listener at %s runs as uid %u, not as root", hook->socket,
				    (unsigned)peer.uid);
		return -1;
	}
	return 0;
}

/* Waits until the socket is ready for `events`. Returns 0, or -1 at the deadline. */
static int await(int fd, short events, const struct hook *hook, int64_t deadline,
		 struct failure *failure)
{
	struct pollfd wanted = { .fd = fd, .events = events };

	for (;;) {
		int64_t left = deadline - now_ms();
		int ready = left > 0 ? poll(&wanted, 1, (int)left) : 0;

		if (ready > 0)
			return 0;
		if (ready == 0) {
			fail_late(hook, failure);
			return -1;
		}
		if (errno != EINTR) {
			failure_set_on_node(failure, REMEDY_CHECK_AGENT, "cannot wait for it: %s",
					    strerror(errno));
			return -1;
		}
	}
}

static int write_request(int fd, const struct block *request, const struct hook *hook,
			 int64_t deadline, struct failure *failure)
{
	size_t done = 0;

	while (done < request->used) {
		ssize_t sent = send(fd, request->bytes + done, request->used - done, MSG_NOSIGNAL);

		if (sent >= 0) {
			done += (size_t)sent;
		} else if (errno == EAGAIN) {
			if (await(fd, POLLOUT, hook, deadline, failure) < 0)
				return -1;
		} else if (errno != EINTR) {
			failure_set_on_node(failure, REMEDY_CHECK_AGENT,
					    "cannot send the request: %s", strerror(errno));
			return -1;
		}
	}
	return 0;
}

static int read_answer(int fd, struct block *block, const struct hook *hook, int64_t deadline,
		       struct failure *failure)
{
	block->used = 0;
	while (block_length(block->bytes, block->used) == 0) {
		ssize_t got;

		if (block->used == HOOK_BLOCK_MAX) {
			failure_set_on_node(failure, REMEDY_CHECK_AGENT,
					    "its answer is longer than %d bytes", HOOK_BLOCK_MAX);
			return -1;
		}
		/* The deadline holds for an agent too that sends without end. */
		if (await(fd, POLLIN, hook, deadline, failure) < 0)
			return -1;
		got = recv(fd, block->bytes + block->used, HOOK_BLOCK_MAX - block->used, 0);
		if (got > 0) {
			block->used += (size_t)got;
		} else if (got == 0) {
			failure_set_on_node(failure, REMEDY_CHECK_AGENT,
					    "it closed the connection after %zu bytes of an answer",
					    block->used);
			return -1;
		} else if (errno != EINTR && errno != EAGAIN) {
			failure_set_on_node(failure, REMEDY_CHECK_AGENT,
					    "cannot read its answer: %s", strerror(errno));
			return -1;
		}
	}
	return 0;
}

int exchange(const struct hook *hook, const struct block *request, struct block *block,
	     struct answer *answer, struct failure *failure)
{
	int64_t deadline = now_ms() + (int64_t)hook->timeout * 1000;
	int rv = -1;
	char why[160];
	int fd;

	fd = connect_agent(hook, deadline, failure);
	if (fd < 0)
		return -1;
	if (check_peer(fd, hook, failure) < 0)
		goto fail;
	if (write_request(fd, request, hook, deadline, failure) < 0)
		goto fail;
	if (read_answer(fd, block, hook, deadline, failure) < 0)
		goto fail;
	if (answer_read(block->bytes, block->used, answer, why, sizeof(why)) < 0) {
		failure_set_on_node(failure, REMEDY_SAME_RELEASE, "cannot use its answer: %s", why);
		goto fail;
	}
	if (!answer->ok) {
		failure_set(failure, answer->layer, answer->remedy, "%s", answer->message);
		goto fail;
	}
	rv = 0;

fail:
	close(fd);
	return rv;
}
