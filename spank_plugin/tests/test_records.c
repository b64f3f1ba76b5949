/* The blocks of the hook exchange, as bytes and values. */
#include <stdint.h>

#include "check.h"
#include "mock.h"
#include "records.h"

static char why[160];

/* Reads from a copy of exactly that size, so that a byte too far is an error. */
static int read_copy(const char *bytes, size_t size, struct answer *answer)
{
	char *copy = malloc(size ? size : 1);
	int rv;

	memcpy(copy, bytes, size);
	rv = answer_read(copy, size, answer, why, sizeof(why));
	free(copy);
	return rv;
}

static void writes_records_and_an_end_mark(void)
{
	static struct block block;

	block_add(&block, "OP", "%s", "detach");
	block_add(&block, "JOB_ID", "%u", 7u);
	CHECK(block_end(&block) == 0);
	CHECK(block.used == sizeof("OP=detach\0JOB_ID=7\0"));
	CHECK(memcmp(block.bytes, "OP=detach\0JOB_ID=7\0", block.used) == 0);
}

static void does_not_write_over_the_end(void)
{
	static struct block block;
	static char value[HOOK_BLOCK_MAX];

	memset(value, 'x', sizeof(value) - 1);
	value[HOOK_BLOCK_MAX - 2 - 1 - 1] = '\0'; /* K= value NUL, and one byte for the mark */
	block_add(&block, "K", "%s", value);
	CHECK(block_end(&block) == 0);
	CHECK(block.used == HOOK_BLOCK_MAX);

	block = (struct block){ 0 };
	value[HOOK_BLOCK_MAX - 2 - 1 - 1] = 'x';
	value[HOOK_BLOCK_MAX - 2 - 1] = '\0';
	block_add(&block, "K", "%s", value);
	CHECK(block_end(&block) == -1);

	block = (struct block){ 0 };
	block_add(&block, "K", "%s", value);
	block_add(&block, "L", "%s", value);
	block_add(&block, "M", "m");
	CHECK(block_end(&block) == -1);
}

static void finds_the_end_of_a_block(void)
{
	CHECK(block_length(BYTES("")) == 0);
	CHECK(block_length(BYTES("\0")) == 1);
	CHECK(block_length(BYTES("A=1")) == 0);
	CHECK(block_length(BYTES("A=1\0")) == 0);
	CHECK(block_length(BYTES("A=1\0B=")) == 0);
	CHECK(block_length(BYTES("A=1\0\0")) == 5);
	CHECK(block_length(BYTES("A=1\0\0more")) == 5);
}

static void reads_an_answer(void)
{
	static const char bytes[] = "VERSION=1\0STATUS=ok\0SET=OPENQSE_JOB_ID=7\0SET=OPENQSE_A=b=c\0"
				    "LATER=whatever\0LATER=again\0SET=OPENQSE_E=\0"
				    "SET=SLURM_JOB_QPU_TYPES=x\0ELAPSED_US=1234\0";
	struct answer answer;
	char name[HOOK_NAME_MAX + 1];
	size_t position = 0;

	CHECK(answer_read(bytes, sizeof(bytes), &answer, why, sizeof(why)) == 0);
	CHECK(answer.ok);
	CHECK_STR(answer.elapsed_us, "1234");
	CHECK_STR(answer_next_set(bytes, sizeof(bytes), &position, name), "7");
	CHECK_STR(name, "OPENQSE_JOB_ID");
	CHECK_STR(answer_next_set(bytes, sizeof(bytes), &position, name), "b=c");
	CHECK_STR(name, "OPENQSE_A");
	CHECK_STR(answer_next_set(bytes, sizeof(bytes), &position, name), "");
	CHECK_STR(name, "OPENQSE_E");
	CHECK_STR(answer_next_set(bytes, sizeof(bytes), &position, name), "x");
	CHECK(!answer_next_set(bytes, sizeof(bytes), &position, name));
	CHECK(!answer_next_set(bytes, sizeof(bytes), &position, name));
}

static void reads_an_error(void)
{
	static const char bytes[] = "VERSION=1\0STATUS=error\0LAYER=QPU agent\0MESSAGE=m\0REMEDY=\0";
	struct answer answer;

	CHECK(answer_read(bytes, sizeof(bytes), &answer, why, sizeof(why)) == 0);
	CHECK(!answer.ok);
	CHECK_STR(answer.layer, "QPU agent");
	CHECK_STR(answer.message, "m");
	CHECK_STR(answer.remedy, "");
}

static void refuses_what_is_not_an_answer(void)
{
	static const struct {
		const char *bytes;
		size_t size;
		const char *problem;
	} bad[] = {
		{ BYTES(""), "not one whole block" },
		{ BYTES("VERSION=1\0STATUS=ok\0"), "not one whole block" },
		{ BYTES("VERSION=1\0STATUS=ok\0\0more"), "not one whole block" },
		{ BYTES("\0"), "it has version ''" },
		{ BYTES("STATUS=ok\0\0"), "it has version ''" },
		{ BYTES("VERSION=2\0STATUS=ok\0\0"), "it has version '2', this plugin speaks 1" },
		{ BYTES("VERSION=\0STATUS=ok\0\0"), "it has version ''" },
		{ BYTES("VERSION=1\0VERSION=1\0STATUS=ok\0\0"), "it has VERSION twice" },
		{ BYTES("VERSION=1\0STATUS=ok\0STATUS=error\0\0"), "it has STATUS twice" },
		{ BYTES("VERSION=1\0STATUS=ok\0ELAPSED_US=1\0ELAPSED_US=1\0\0"), "twice" },
		{ BYTES("VERSION=1\0STATUS=ok\0ELAPSED_US=\0\0"), "ELAPSED_US is not a number" },
		{ BYTES("VERSION=1\0STATUS=ok\0ELAPSED_US=-1\0\0"), "ELAPSED_US is not a number" },
		{ BYTES("VERSION=1\0STATUS=ok\0ELAPSED_US=12345678901234567890\0\0"),
		  "ELAPSED_US is not a number" },
		{ BYTES("VERSION=1\0\0"), "neither ok nor error" },
		{ BYTES("VERSION=1\0STATUS=OK\0\0"), "neither ok nor error" },
		{ BYTES("VERSION=1\0STATUS=error\0\0"), "without LAYER, MESSAGE or REMEDY" },
		{ BYTES("VERSION=1\0STATUS=error\0LAYER=l\0MESSAGE=m\0\0"), "without LAYER" },
		{ BYTES("VERSION=1\0STATUS=error\0LAYER=l\0LAYER=l\0\0"), "it has LAYER twice" },
		{ BYTES("HTTP/1.1 400 Bad Request\r\n\0\0"), "is not KEY=VALUE" },
		{ BYTES("VERSION=1\0STATUS=ok\0nonsense\0\0"), "'nonsense' is not KEY=VALUE" },
		{ BYTES("VERSION=1\0STATUS=ok\0=x\0\0"), "is not KEY=VALUE" },
		{ BYTES("VERSION=1\0STATUS=ok\0Set=A=b\0\0"), "is not KEY=VALUE" },
		{ BYTES("VERSION=1\0STATUS=ok\0SET\0\0"), "is not KEY=VALUE" },
	};
	struct answer answer;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		why[0] = '\0';
		CHECK(read_copy(bad[i].bytes, bad[i].size, &answer) == -1);
		CHECK_HAS(why, bad[i].problem);
	}
}

static void refuses_to_set_what_could_take_over_a_job(void)
{
	static const char *const names[] = {
		"", "PATH", "LD_PRELOAD", "LD_", "SLURM_JOB_ID", "SLURM_", "SLURM_JOB_QPU_",
		"SLURM_JOB_QPU_TYPES2", "1A", "A-B", "A B", "A\xff", "BASH_FUNC_ls%%", "BASH_ENV",
		"PYTHONPATH", "a9", "OPENQSE_", "OPENQSE_A-B",
	};
	static const char *const good[] = { "OPENQSE_SOCKET", "QRMI_JOB_ID", "emu0_QRMI_JOB_X",
					    "SLURM_JOB_QPU_RESOURCES" };
	char bytes[512];
	struct answer answer;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		int size = sprintf(bytes, "VERSION=1%cSTATUS=ok%cSET=%s=x%c", 0, 0, names[i], 0) + 1;

		CHECK(read_copy(bytes, (size_t)size, &answer) == -1);
		CHECK_HAS(why, "must not set the variable");
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		int size = sprintf(bytes, "VERSION=1%cSTATUS=ok%cSET=%s=x%c", 0, 0, good[i], 0) + 1;

		CHECK(read_copy(bytes, (size_t)size, &answer) == 0);
	}
	CHECK(read_copy(BYTES("VERSION=1\0STATUS=ok\0SET=OPENQSE_A\0\0"), &answer) == -1);
	memset(bytes, 'A', sizeof(bytes));
	memcpy(bytes, "SET=", 4);
	memcpy(bytes + 4 + HOOK_NAME_MAX + 1, "=x\0", 4);
	CHECK(read_copy(bytes, 4 + HOOK_NAME_MAX + 1 + 4, &answer) == -1);
	CHECK_HAS(why, "must not set");
}

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Bytes at random, half of the time from the words of the exchange, with a fixed seed. */
static void survives_random_bytes(void)
{
	static const struct {
		const char *bytes;
		size_t size;
	} words[] = {
		{ BYTES("VERSION=1\0") }, { BYTES("STATUS=ok\0") }, { BYTES("STATUS=error\0") },
		{ BYTES("SET=") },	  { BYTES("A=b\0") },	    { BYTES("LAYER=\0") },
		{ BYTES("MESSAGE=m\0") }, { BYTES("REMEDY=r\0") },  { BYTES("ELAPSED_US=7\0") },
		{ BYTES("\0") },	  { BYTES("=") },	    { BYTES("PATH") },
		{ BYTES("SLURM_") },	  { BYTES("\xff") },	    { BYTES("1") },
	};
	const size_t count = sizeof(words) / sizeof(words[0]);
	uint64_t state = 20240607;
	long accepted = 0;

	for (int round = 0; round < 200000; round++) {
		char bytes[400];
		size_t size = 0;
		size_t length;
		struct answer answer;

		if (random_next(&state) & 1) { /* so that what follows is looked at */
			size = sizeof("VERSION=1\0STATUS=ok");
			memcpy(bytes, "VERSION=1\0STATUS=ok", size);
		}
		for (uint64_t n = random_next(&state) % 16; n > 0; n--) {
			uint64_t pick = random_next(&state);

			if (pick & 1) {
				pick = (pick >> 1) % count;
				memcpy(bytes + size, words[pick].bytes, words[pick].size);
				size += words[pick].size;
			} else if ((pick & 6) == 6) {
				bytes[size++] = (char)(pick >> 8);
			}
		}
		if (random_next(&state) & 1) {
			memcpy(bytes + size, "\0", 2);
			size += 2;
		}
		length = block_length(bytes, size);
		CHECK(length <= size);
		if (read_copy(bytes, size, &answer) == 0) {
			char name[HOOK_NAME_MAX + 1];
			size_t position = 0;

			accepted++;
			CHECK(length == size);
			CHECK(answer_read(bytes, size, &answer, why, sizeof(why)) == 0);
			while (answer_next_set(bytes, size, &position, name))
				CHECK(*name && strcmp(name, "PATH") != 0 &&
				      strncmp(name, "SLURM_", 6) != 0);
			CHECK(position < size);
		}
	}
	CHECK(accepted > 500); /* the loop reaches what lies behind the checks */
}

int main(void)
{
	static const struct test tests[] = {
		TEST(writes_records_and_an_end_mark),
		TEST(does_not_write_over_the_end),
		TEST(finds_the_end_of_a_block),
		TEST(reads_an_answer),
		TEST(reads_an_error),
		TEST(refuses_what_is_not_an_answer),
		TEST(refuses_to_set_what_could_take_over_a_job),
		TEST(survives_random_bytes),
	};

	return run_tests("records", tests, sizeof(tests) / sizeof(tests[0]));
}
