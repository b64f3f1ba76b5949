/* The exchange with a node agent that is good, slow, gone, hostile or broken. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>

#include "check.h"
#include "exchange.h"
#include "mock.h"

#define OK "VERSION=1\0STATUS=ok\0SET=OPENQSE_JOB_ID=7\0ELAPSED_US=5\0\0"

static struct block request;
static struct block block;
static struct answer answer;
static struct failure failure;
static double seconds; /* the last exchange took */

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int ask_at(const char *path, int timeout)
{
	struct hook hook = { .timeout = timeout };
	double start = now();
	int rv;

	strcpy(hook.socket, path);
	if (request.used == 0) {
		block_add(&request, "VERSION", "1");
		block_add(&request, "OP", "detach");
		block_add(&request, "JOB_ID", "7");
		CHECK(block_end(&request) == 0);
	}
	rv = exchange(&hook, &request, &block, &answer, &failure);
	seconds = now() - start;
	CHECK((rv == 0) == (*failure.text == '\0'));
	return rv;
}

static int ask(struct agent *agent)
{
	int rv;

	agent_start(agent);
	rv = ask_at(agent->path, 1);
	agent_stop(agent);
	return rv;
}

/* The failure begins by the layer, this host's node agent, and ends by a remedy. */
static void check_failure(const char *message, const char *remedy)
{
	char host[256] = "";
	char expected[4096];

	gethostname(host, sizeof(host) - 1);
	snprintf(expected, sizeof(expected), "openqse: node agent on %s: %s. %s on this node.", host,
		 message, remedy);
	CHECK_STR(failure.text, expected);
}

#define START "Ask the administrator to start openqse-node-agent"
#define LOOK "Ask the administrator to check openqse-node-agent"

static void asks_and_is_answered(void)
{
	static struct agent agent = { ANSWERS(OK) };

	CHECK(ask(&agent) == 0);
	CHECK(answer.ok);
	CHECK(agent.request_size == request.used);
	CHECK(memcmp(agent.request, request.bytes, request.used) == 0);
}

static void takes_an_answer_byte_by_byte(void)
{
	static struct agent agent = { ANSWERS(OK), .chunk = 1, .pause_ms = 1 };

	CHECK(ask(&agent) == 0);
	CHECK_STR(answer.elapsed_us, "5");
}

static void does_not_wait_for_the_end_of_the_connection(void)
{
	static struct agent agent = { ANSWERS(OK), .hang = true };

	CHECK(ask(&agent) == 0);
	CHECK(seconds < 0.5);
}

static void sends_a_request_bit_by_bit(void)
{
	static struct agent agent = { ANSWERS(OK) };
	static char value[60000];

	memset(value, 'x', sizeof(value) - 1);
	block_add(&request, "QPU", "%s", value);
	CHECK(block_end(&request) == 0);
	mock.send_limit = 1000;
	CHECK(ask(&agent) == 0);
	CHECK(agent.request_size == request.used);
	CHECK(memcmp(agent.request, request.bytes, request.used) == 0);
}

static void tells_what_the_agent_says_is_wrong(void)
{
	static struct agent agent = { ANSWERS("VERSION=1\0STATUS=error\0LAYER=QPU agent\0"
					    "MESSAGE=emu0 is not\x1b[0m there\0REMEDY=Wait\0\0") };

	CHECK(ask(&agent) == -1);
	CHECK_STR(failure.text, "openqse: QPU agent: emu0 is not?[0m there. Wait.");
}

static void bounds_what_the_agent_says(void)
{
	static char text[HOOK_BLOCK_MAX];
	static struct agent agent = { .answer = text };
	int size = sprintf(text, "VERSION=1%cSTATUS=error%cLAYER=%0500d%cMESSAGE=%030000d%cREMEDY=%030000d%c",
			   0, 0, 0, 0, 0, 0, 0, 0);

	agent.size = (size_t)size + 1;
	CHECK(ask(&agent) == -1);
	CHECK(strlen(failure.text) < sizeof(failure.text));
	CHECK(failure.text[strlen(failure.text) - 1] == '.');
}

static void says_that_nobody_listens(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char message[200];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	CHECK(ask_at("/nonexistent/node.sock", 1) == -1);
	check_failure("not running, nobody listens at /nonexistent/node.sock", START);

	/* A socket that a dead agent left behind. */
	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/openqse-test-%d", (int)getpid());
	CHECK(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	close(fd);
	failure.text[0] = '\0';
	CHECK(ask_at(address.sun_path, 1) == -1);
	unlink(address.sun_path);
	snprintf(message, sizeof(message), "not running, nobody listens at %s", address.sun_path);
	check_failure(message, START);

	failure.text[0] = '\0';
	CHECK(ask_at("/dev/null", 1) == -1);
	check_failure("not running, nobody listens at /dev/null", START);
	failure.text[0] = '\0';
	CHECK(ask_at("/dev/null/x", 1) == -1);
	check_failure("cannot connect to /dev/null/x: Not a directory", LOOK);
}

static char late_path[64];

/* Starts an agent that is found at `late_path` from then on. */
static void *start_late(void *argument)
{
	const struct timespec late = { .tv_nsec = 300000000 };
	struct agent *agent = argument;

	nanosleep(&late, NULL);
	agent_start(agent);
	CHECK(symlink(agent->path, late_path) == 0);
	return NULL;
}

static void waits_for_an_agent_that_is_started_again(void)
{
	static struct agent agent = { ANSWERS(OK) };
	pthread_t thread;
	int rv;

	snprintf(late_path, sizeof(late_path), "/tmp/openqse-test-%d", (int)getpid());
	CHECK(pthread_create(&thread, NULL, start_late, &agent) == 0);
	rv = ask_at(late_path, 5);
	CHECK(pthread_join(thread, NULL) == 0);
	unlink(late_path);
	agent_stop(&agent);
	CHECK(rv == 0);
	CHECK(seconds > 0.25);
}

static void says_that_no_answer_came(void)
{
	static struct agent agent = { ANSWERS(OK), .pause_ms = 10000 };

	CHECK(ask(&agent) == -1);
	check_failure("no answer within 1 s", LOOK);
	CHECK(seconds > 0.95 && seconds < 1.5);
}

static void does_not_let_a_trickle_move_the_deadline(void)
{
	static char text[1000];
	static struct agent agent = { .answer = text, .size = sizeof(text), .chunk = 1, .pause_ms = 50 };

	memset(text, 'X', sizeof(text));
	CHECK(ask(&agent) == -1);
	check_failure("no answer within 1 s", LOOK);
	CHECK(seconds > 0.95 && seconds < 1.5);
}

static void does_not_wait_for_a_full_backlog_for_ever(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	int first = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/openqse-test-%d", (int)getpid());
	CHECK(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0);
	CHECK(listen(listener, 0) == 0);
	CHECK(connect(first, (struct sockaddr *)&address, sizeof(address)) == 0);
	CHECK(ask_at(address.sun_path, 1) == -1);
	unlink(address.sun_path);
	check_failure("no answer within 1 s", LOOK);
	CHECK(seconds > 0.95 && seconds < 1.5);
}

static void on_alarm(int signal)
{
	(void)signal;
}

static void goes_on_after_signals(void)
{
	static struct agent agent = { ANSWERS(OK), .chunk = 8, .pause_ms = 30 };
	const struct itimerval often = { { 0, 3000 }, { 0, 3000 } };
	const struct itimerval never = { { 0, 0 }, { 0, 0 } };
	const struct sigaction action = { .sa_handler = on_alarm };
	sigset_t vtalarm;
	int rv;

	/* The signals are for this thread, not for the agent's. */
	sigemptyset(&vtalarm);
	sigaddset(&vtalarm, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &vtalarm, NULL);
	agent_start(&agent);
	pthread_sigmask(SIG_UNBLOCK, &vtalarm, NULL);
	CHECK(sigaction(SIGALRM, &action, NULL) == 0);
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	rv = ask_at(agent.path, 5);
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
	agent_stop(&agent);
	CHECK(rv == 0);
	CHECK(seconds > 0.1);
}

static void says_that_the_agent_hung_up(void)
{
	static struct agent early = { ANSWERS(""), .close_at_once = true };
	static struct agent silent = { ANSWERS("") };
	static struct agent half = { ANSWERS("VERSION=1\0STATUS=ok\0SET=A") };

	CHECK(ask(&early) == -1);
	CHECK_HAS(failure.text, "node agent on ");
	CHECK_HAS(failure.text, LOOK);
	failure.text[0] = '\0';
	CHECK(ask(&silent) == -1);
	check_failure("it closed the connection after 0 bytes of an answer", LOOK);
	failure.text[0] = '\0';
	CHECK(ask(&half) == -1);
	check_failure("it closed the connection after 25 bytes of an answer", LOOK);
}

static void refuses_garbage(void)
{
	static struct agent garbage = { ANSWERS("HTTP/1.1 400 Bad Request\r\n\r\n\0\0") };
	static struct agent more = { ANSWERS(OK "more") };
	static struct agent other = { ANSWERS("VERSION=2\0STATUS=ok\0\0") };

	CHECK(ask(&garbage) == -1);
	CHECK_HAS(failure.text, "cannot use its answer: the record 'HTTP/1.1 400 Bad Request??");
	CHECK_HAS(failure.text, "plugin and node agent of the same release.");
	failure.text[0] = '\0';
	CHECK(ask(&more) == -1);
	CHECK_HAS(failure.text, "cannot use its answer: it is not one whole block");
	failure.text[0] = '\0';
	CHECK(ask(&other) == -1);
	CHECK_HAS(failure.text, "it has version '2', this plugin speaks 1");
}

static void refuses_an_answer_too_large(void)
{
	static char text[HOOK_BLOCK_MAX + 100];
	static struct agent agent = { .answer = text, .size = sizeof(text), .hang = true };

	memset(text, 'X', sizeof(text));
	CHECK(ask(&agent) == -1);
	check_failure("its answer is longer than 65536 bytes", LOOK);
}

static void refuses_a_listener_that_is_not_root(void)
{
	static struct agent agent = { ANSWERS(OK) };

	mock.peer_uid = 1000;
	CHECK(ask(&agent) == -1);
	CHECK_HAS(failure.text, "runs as uid 1000, not as root. Ask the administrator to remove");
	CHECK(agent.request_size == 0);
}

/* The same with the kernel's own word, where the test may change its uid. */
static void refuses_a_real_listener_that_is_not_root(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int status;
	int ready[2];
	pid_t pid;

	if (geteuid() != 0) {
		printf("not run, needs root: %s\n", __func__);
		return;
	}
	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/openqse-test-%d", (int)getpid());
	CHECK(pipe(ready) == 0);
	pid = fork();
	if (pid == 0) {
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);

		CHECK(setuid(65534) == 0);
		CHECK(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
		CHECK(listen(fd, 1) == 0);
		CHECK(write(ready[1], "", 1) == 1);
		alarm(TEST_SECONDS);
		pause();
	}
	CHECK(read(ready[0], &status, 1) == 1);
	CHECK(ask_at(address.sun_path, 1) == -1);
	kill(pid, SIGTERM);
	CHECK(waitpid(pid, &status, 0) == pid);
	unlink(address.sun_path);
	CHECK_HAS(failure.text, "runs as uid 65534, not as root");
}

static void leaves_no_file_open(void)
{
	static struct agent agent = { ANSWERS(OK) };
	int before = dup(0);
	int after;

	close(before);
	CHECK(ask(&agent) == 0);
	CHECK(ask_at("/nonexistent/node.sock", 1) == -1);
	after = dup(0);
	CHECK(after == before);
}

static void reads_its_arguments(void)
{
	struct hook hook;
	char path[200] = "socket=/";
	char *good[] = { (char[]){ "socket=/run/x.sock" }, (char[]){ "timeout=60" } };
	char *bad[] = { path,
			(char[]){ "socket=x.sock" },
			(char[]){ "timeout=0" },
			(char[]){ "timeout=61" },
			(char[]){ "timeout=" },
			(char[]){ "timeout=5s" },
			(char[]){ "timeout=100000000000" },
			(char[]){ "colour=blue" } };
	int lines = 0;

	hook_configure(&hook, 0, NULL);
	CHECK_STR(hook.socket, "/run/openqse/node.sock");
	CHECK(hook.timeout == 5);
	hook_configure(&hook, 2, good);
	CHECK_STR(hook.socket, "/run/x.sock");
	CHECK(hook.timeout == 60);
	CHECK_STR(mock.log, "");

	memset(path + 8, 'a', 150);
	hook_configure(&hook, 8, bad);
	CHECK_STR(hook.socket, "/run/openqse/node.sock");
	CHECK(hook.timeout == 5);
	for (const char *c = mock.log; *c; c++)
		lines += *c == '\n';
	CHECK(lines == 8);
	CHECK_HAS(mock.log, "unknown argument 'colour=blue'; known are socket=PATH and timeout=SECONDS");
}

int main(void)
{
	static const struct test tests[] = {
		TEST(asks_and_is_answered),
		TEST(takes_an_answer_byte_by_byte),
		TEST(does_not_wait_for_the_end_of_the_connection),
		TEST(sends_a_request_bit_by_bit),
		TEST(tells_what_the_agent_says_is_wrong),
		TEST(bounds_what_the_agent_says),
		TEST(says_that_nobody_listens),
		TEST(waits_for_an_agent_that_is_started_again),
		TEST(says_that_no_answer_came),
		TEST(does_not_let_a_trickle_move_the_deadline),
		TEST(does_not_wait_for_a_full_backlog_for_ever),
		TEST(goes_on_after_signals),
		TEST(says_that_the_agent_hung_up),
		TEST(refuses_garbage),
		TEST(refuses_an_answer_too_large),
		TEST(refuses_a_listener_that_is_not_root),
		TEST(refuses_a_real_listener_that_is_not_root),
		TEST(leaves_no_file_open),
		TEST(reads_its_arguments),
	};

	return run_tests("exchange", tests, sizeof(tests) / sizeof(tests[0]));
}
