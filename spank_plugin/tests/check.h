/* A test harness: each test is a function and runs in a process of its own, under a deadline. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEST_SECONDS 30

/* _exit(): a test that failed must not be taken for one that leaks. */
#define CHECK(condition)                                                                   \
	do {                                                                               \
		if (!(condition)) {                                                        \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
			_exit(1);                                                          \
		}                                                                          \
	} while (0)

#define CHECK_STR(actual, expected)                                                      \
	do {                                                                             \
		const char *actual_ = (actual);                                          \
		if (!actual_ || strcmp(actual_, (expected)) != 0) {                      \
			fprintf(stderr, "%s:%d: is\n  %s\nand should be\n  %s\n", __FILE__, \
				__LINE__, actual_ ? actual_ : "(none)", (expected));     \
			_exit(1);                                                        \
		}                                                                        \
	} while (0)

#define CHECK_HAS(text, part)                                                               \
	do {                                                                                \
		if (!strstr((text), (part))) {                                              \
			fprintf(stderr, "%s:%d: \"%s\" is not in\n  %s\n", __FILE__, __LINE__, \
				(part), (text));                                            \
			_exit(1);                                                           \
		}                                                                           \
	} while (0)

struct test {
	const char *name;
	void (*run)(void);
};

#define TEST(function) { #function, function }

/* Runs the tests; returns main()'s exit status. */
static inline int run_tests(const char *suite, const struct test *tests, size_t count)
{
	size_t failed = 0;

	for (size_t i = 0; i < count; i++) {
		int status = 0;
		pid_t pid;

		fflush(NULL);
		pid = fork();
		if (pid == 0) {
			alarm(TEST_SECONDS);
			tests[i].run();
			exit(0);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
			printf("FAILED %s: %s\n", suite, tests[i].name);
			failed++;
		}
	}
	printf("%-12s %zu of %zu tests passed\n", suite, count - failed, count);
	return failed ? 1 : 0;
}

#endif
