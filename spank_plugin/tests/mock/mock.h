/* A Slurm, a kernel and a node agent under the test's control. */
#ifndef MOCK_H
#define MOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <slurm/spank.h>

/* What Slurm would say, and what it was told. */
extern struct mock {
	spank_context_t context;
	uint32_t job_id, step_id, restart_count;
	uid_t uid;
	gid_t gid;
	int task_id;
	bool no_items;          /* spank_get_item() fails */
	bool no_setenv;         /* spank_setenv() fails */
	const char *epilog_qpu; /* value of --qpu in the epilog, NULL: not given */
	char log[16384];        /* what slurm_error() was told, a line each */
	int registered;
	int control_unset; /* calls of spank_job_control_unsetenv() */
	size_t send_limit; /* most bytes send() takes at once; 0: all. Every third call is refused. */
	uid_t peer_uid;    /* uid SO_PEERCRED tells; (uid_t)-1: the kernel's */
} mock;

/* The job's environment in slurmstepd. Returns NULL if the variable is not there. */
const char *mock_env(const char *name);
void mock_env_set(const char *name, const char *value);

/* Gives an option as Slurm would. Returns what the plugin's callback returns. */
int mock_option(const char *name, const char *value, bool remote);

/* Calls that Slurm makes, without and with plugstack.conf arguments. */
int mock_init(void);
int mock_init_with_socket(const char *path, const char *timeout);

/* A node agent that answers one connection, in a thread. */
struct agent {
	/* What it shall do. */
	const char *answer;
	size_t size;
	size_t chunk;       /* bytes per write; 0: all at once */
	int pause_ms;       /* before the answer and between chunks */
	bool hang;          /* after the answer keeps the connection open */
	bool close_at_once; /* without reading */
	/* What came of it. */
	char directory[64];
	char path[96];
	char request[70000];
	size_t request_size;
	int connections;
	/* Its own. */
	int listener;
	int stop[2];
	pthread_t thread;
};

void agent_start(struct agent *agent);
void agent_stop(struct agent *agent);

/* Bytes from a string literal with \0 in it; an agent that answers with them. */
#define BYTES(literal) (literal), sizeof(literal) - 1
#define ANSWERS(literal) .answer = (literal), .size = sizeof(literal) - 1

#endif
