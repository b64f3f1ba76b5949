/* The grammar of --qpu and --qpu-mode. */
#include "check.h"
#include "options.h"

static char why[2048];

/* The table of --qpu values that job_submit.lua and the agents are tested against too. */
#define TABLE "../tests/vectors/qpu_options.tsv"

static const struct {
	const char *reason;
	const char *words;
} reasons[] = {
	{ "empty", "name at least one QPU" },
	{ "item", "is empty; write NAME[:SLOTS] before and after each comma" },
	{ "nameless", "has no name before ':'" },
	{ "name", "is not the name of a QPU: a letter, then letters, digits or underscores" },
	{ "name-length", "characters, at most 32 are allowed" },
	{ "slots", "slots of 'emu0' must be a whole number from 1 to 65535" },
	{ "twice", "'emu0' is named twice" },
	{ "many", "at most 32 QPUs may be named" },
	{ "length", "at most 1024 are allowed" },
	{ "blank", "blanks are not allowed" },
};

static const char *words_of(const char *reason)
{
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (strcmp(reasons[i].reason, reason) == 0)
			return reasons[i].words;
	return NULL;
}

/* Puts a byte for each \xHH, in place. */
static void unescape(char *text)
{
	char *to = text;
	unsigned int byte;

	for (const char *from = text; *from;) {
		if (sscanf(from, "\\x%2x", &byte) == 1) {
			*to++ = (char)byte;
			from += 4;
		} else {
			*to++ = *from++;
		}
	}
	*to = '\0';
}

static void reads_and_refuses_as_the_table_says(void)
{
	char line[4096];
	int accepted = 0, refused = 0;
	FILE *table = fopen(TABLE, "r");

	CHECK(table);
	while (fgets(line, sizeof(line), table)) {
		char *verdict, *what;

		CHECK(strchr(line, '\n'));
		line[strcspn(line, "\n")] = '\0';
		if (line[0] == '#')
			continue;
		verdict = strchr(line, '\t');
		CHECK(verdict);
		*verdict++ = '\0';
		what = strchr(verdict, '\t');
		CHECK(what);
		*what++ = '\0';
		unescape(line);
		why[0] = '\0';
		if (strcmp(verdict, "ok") == 0) {
			CHECK(options_check_qpu("--qpu", line, why, sizeof(why)) == 0);
			accepted++;
		} else {
			CHECK_STR(verdict, "refused");
			CHECK(options_check_qpu("--qpu", line, why, sizeof(why)) == -1);
			CHECK(words_of(what));
			CHECK_HAS(why, words_of(what));
			refused++;
		}
	}
	fclose(table);
	CHECK(accepted >= 10 && refused >= 40);
}

static void says_what_is_allowed(void)
{
	options_check_qpu("--qpu", "emu0:0", why, sizeof(why));
	CHECK_STR(why, "openqse: --qpu=emu0:0: slots of 'emu0' must be a whole number from 1 to 65535");
	options_check_qpu("--qpu", "emu0,", why, sizeof(why));
	CHECK_STR(why, "openqse: --qpu=emu0,: item 2 is empty; write NAME[:SLOTS] before and after each comma");
	options_check_qpu("--qpu", "", why, sizeof(why));
	CHECK_STR(why, "openqse: --qpu=: name at least one QPU, as in --qpu=emu0 or --qpu=emu0:2,emu1");
}

static void bounds_the_value(void)
{
	char value[QPU_VALUE_MAX + 2];
	size_t used = 0;

	for (int i = 0; i < QPU_ITEMS_MAX; i++)
		used += (size_t)sprintf(value + used, "%se%d", i ? "," : "", i);
	CHECK(options_check_qpu("--qpu", value, why, sizeof(why)) == 0);
	strcpy(value + used, ",more");
	CHECK(options_check_qpu("--qpu", value, why, sizeof(why)) == -1);
	CHECK_HAS(why, "at most 32 QPUs may be named");

	memset(value, 'a', QPU_VALUE_MAX + 1);
	value[QPU_VALUE_MAX + 1] = '\0';
	CHECK(options_check_qpu("--qpu", value, why, sizeof(why)) == -1);
	CHECK_STR(why, "openqse: --qpu: the value has 1025 bytes, at most 1024 are allowed");
	value[QPU_VALUE_MAX] = '\0';
	CHECK(options_check_qpu("--qpu", value, why, sizeof(why)) == -1);
	CHECK_HAS(why, "has 1024 characters, at most 32");
}

static void keeps_control_characters_off_the_terminal(void)
{
	CHECK(options_check_qpu("--qpu", "emu\x1b[31m", why, sizeof(why)) == -1);
	CHECK(!strchr(why, '\x1b'));
	CHECK(!options_check_mode("--qpu-mode", "a\nb", why, sizeof(why)));
	CHECK(!strchr(why, '\n'));
}

static void knows_two_modes(void)
{
	CHECK_STR(options_check_mode("--qpu-mode", "shared", why, sizeof(why)), "shared");
	CHECK_STR(options_check_mode("--qpu-mode", "exclusive", why, sizeof(why)), "exclusive");
	CHECK(!options_check_mode("--qpu-mode", "", why, sizeof(why)));
	CHECK(!options_check_mode("--qpu-mode", "Shared", why, sizeof(why)));
	CHECK_STR(why, "openqse: --qpu-mode=Shared: the mode is 'shared' or 'exclusive'");
}

int main(void)
{
	static const struct test tests[] = {
		TEST(reads_and_refuses_as_the_table_says),
		TEST(says_what_is_allowed),
		TEST(bounds_the_value),
		TEST(keeps_control_characters_off_the_terminal),
		TEST(knows_two_modes),
	};

	return run_tests("options", tests, sizeof(tests) / sizeof(tests[0]));
}
