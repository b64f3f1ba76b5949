/* A Slurm, a kernel and a node agent under the test's control. */
#include "mock.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"

struct mock mock = { .peer_uid = (uid_t)-1 };

static struct spank_option *options[8];
static struct {
	char name[300];
	char value[70000];
} environment[16];

const char *spank_strerror(spank_err_t err)
{
	(void)err;
	return "mocked error";
}

spank_context_t spank_context(void)
{
	return mock.context;
}

spank_err_t spank_option_register(spank_t spank, struct spank_option *opt)
{
	(void)spank;
	options[mock.registered++] = opt;
	return ESPANK_SUCCESS;
}

spank_err_t spank_option_getopt(spank_t spank, struct spank_option *opt, char **value)
{
	(void)spank;
	CHECK(mock.context == S_CTX_JOB_SCRIPT);
	CHECK(mock.registered == 0);
	if (strcmp(opt->name, "qpu") != 0 || !mock.epilog_qpu)
		return ESPANK_ERROR;
	*value = (char *)(uintptr_t)mock.epilog_qpu;
	return ESPANK_SUCCESS;
}

spank_err_t spank_get_item(spank_t spank, spank_item_t item, ...)
{
	va_list args;
	void *value;

	(void)spank;
	if (mock.no_items)
		return ESPANK_NOT_AVAIL;
	va_start(args, item);
	value = va_arg(args, void *);
	va_end(args);
	switch (item) {
	case S_JOB_UID:
		*(uid_t *)value = mock.uid;
		break;
	case S_JOB_GID:
		*(gid_t *)value = mock.gid;
		break;
	case S_JOB_ID:
		*(uint32_t *)value = mock.job_id;
		break;
	case S_JOB_STEPID:
		*(uint32_t *)value = mock.step_id;
		break;
	case S_TASK_ID:
		*(int *)value = mock.task_id;
		break;
	case S_SLURM_RESTART_COUNT:
		*(uint32_t *)value = mock.restart_count;
		break;
	}
	return ESPANK_SUCCESS;
}

const char *mock_env(const char *name)
{
	for (size_t i = 0; i < sizeof(environment) / sizeof(environment[0]); i++)
		if (strcmp(environment[i].name, name) == 0)
			return environment[i].value;
	return NULL;
}

void mock_env_set(const char *name, const char *value)
{
	for (size_t i = 0; i < sizeof(environment) / sizeof(environment[0]); i++) {
		if (*environment[i].name && strcmp(environment[i].name, name) != 0)
			continue;
		snprintf(environment[i].name, sizeof(environment[i].name), "%s", name);
		snprintf(environment[i].value, sizeof(environment[i].value), "%s", value);
		return;
	}
	CHECK(false && "room in the mocked environment");
}

spank_err_t spank_getenv(spank_t spank, const char *var, char *buf, int len)
{
	const char *value = mock_env(var);

	(void)spank;
	if (!value)
		return ESPANK_ENV_NOEXIST;
	return snprintf(buf, (size_t)len, "%s", value) >= len ? ESPANK_NOSPACE : ESPANK_SUCCESS;
}

spank_err_t spank_setenv(spank_t spank, const char *var, const char *val, int overwrite)
{
	(void)spank;
	CHECK(overwrite == 1);
	if (mock.no_setenv)
		return ESPANK_ERROR;
	mock_env_set(var, val);
	return ESPANK_SUCCESS;
}

spank_err_t spank_job_control_unsetenv(spank_t spank, const char *var)
{
	(void)spank;
	CHECK(strncmp(var, "_SLURM_SPANK_OPTION_openqse_qpu", 31) == 0);
	mock.control_unset++;
	return ESPANK_SUCCESS;
}

void slurm_error(const char *format, ...)
{
	size_t used = strlen(mock.log);
	va_list args;

	va_start(args, format);
	vsnprintf(mock.log + used, sizeof(mock.log) - used, format, args);
	va_end(args);
	used = strlen(mock.log);
	snprintf(mock.log + used, sizeof(mock.log) - used, "\n");
}

int mock_option(const char *name, const char *value, bool remote)
{
	for (int i = 0; i < mock.registered; i++)
		if (strcmp(options[i]->name, name) == 0)
			return options[i]->cb(options[i]->val, value, remote);
	CHECK(false && "the option is registered");
	return 0;
}

int mock_init(void)
{
	return slurm_spank_init(NULL, 0, NULL);
}

int mock_init_with_socket(const char *path, const char *timeout)
{
	char socket_argument[128];
	char timeout_argument[32];
	char *arguments[] = { socket_argument, timeout_argument };

	snprintf(socket_argument, sizeof(socket_argument), "socket=%s", path);
	snprintf(timeout_argument, sizeof(timeout_argument), "timeout=%s", timeout);
	return slurm_spank_init(NULL, 2, arguments);
}

int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size);

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
	int rc = __real_getsockopt(fd, level, name, value, size);
	uid_t uid = mock.peer_uid;

	/* Who runs the tests is a good agent, root or not, unless a test says otherwise. */
	if (uid == (uid_t)-1 && geteuid() != 0)
		uid = 0;
	if (rc == 0 && name == SO_PEERCRED && uid != (uid_t)-1)
		((struct ucred *)value)->uid = uid;
	return rc;
}

ssize_t __real_send(int fd, const void *bytes, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t size, int flags);

ssize_t __wrap_send(int fd, const void *bytes, size_t size, int flags)
{
	static int calls;

	CHECK(flags & MSG_NOSIGNAL);
	if (mock.send_limit && ++calls % 3 == 0) {
		errno = calls % 2 ? EINTR : EAGAIN;
		return -1;
	}
	if (mock.send_limit && size > mock.send_limit)
		size = mock.send_limit;
	return __real_send(fd, bytes, size, flags);
}

/* Waits up to `ms`; true if the test wants the agent to stop. */
static bool stopped_within(struct agent *agent, int ms)
{
	struct pollfd stop = { .fd = agent->stop[0], .events = POLLIN };

	return poll(&stop, 1, ms) > 0;
}

static void answer_one(struct agent *agent, int fd)
{
	size_t chunk = agent->chunk ? agent->chunk : agent->size;

	if (agent->close_at_once)
		return;
	while (agent->request_size < 2 ||
	       memcmp(agent->request + agent->request_size - 2, "\0", 2) != 0) {
		ssize_t got = read(fd, agent->request + agent->request_size,
				   sizeof(agent->request) - agent->request_size);

		if (got <= 0)
			return;
		agent->request_size += (size_t)got;
	}
	for (size_t done = 0; done < agent->size; done += chunk) {
		size_t size = agent->size - done < chunk ? agent->size - done : chunk;

		if (agent->pause_ms && stopped_within(agent, agent->pause_ms))
			return;
		if (__real_send(fd, agent->answer + done, size, MSG_NOSIGNAL) != (ssize_t)size)
			return;
	}
	if (agent->hang)
		stopped_within(agent, -1);
}

static void *agent_main(void *argument)
{
	struct agent *agent = argument;
	struct pollfd wanted[] = { { .fd = agent->listener, .events = POLLIN },
				   { .fd = agent->stop[0], .events = POLLIN } };

	while (poll(wanted, 2, -1) > 0 && !(wanted[1].revents & POLLIN)) {
		int fd = accept(agent->listener, NULL, NULL);

		if (fd < 0)
			continue;
		agent->connections++;
		answer_one(agent, fd);
		close(fd);
	}
	return NULL;
}

void agent_start(struct agent *agent)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	strcpy(agent->directory, "/tmp/openqse-test-XXXXXX");
	CHECK(mkdtemp(agent->directory));
	snprintf(agent->path, sizeof(agent->path), "%s/node.sock", agent->directory);
	strcpy(address.sun_path, agent->path);
	CHECK(pipe(agent->stop) == 0);
	agent->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(bind(agent->listener, (struct sockaddr *)&address, sizeof(address)) == 0);
	CHECK(listen(agent->listener, 4) == 0);
	CHECK(pthread_create(&agent->thread, NULL, agent_main, agent) == 0);
}

void agent_stop(struct agent *agent)
{
	CHECK(write(agent->stop[1], "", 1) == 1);
	CHECK(pthread_join(agent->thread, NULL) == 0);
	close(agent->stop[0]);
	close(agent->stop[1]);
	close(agent->listener);
	CHECK(unlink(agent->path) == 0);
	CHECK(rmdir(agent->directory) == 0);
}
