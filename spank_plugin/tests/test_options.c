/* The grammar of --qpu and --qpu-mode. */
#include "check.h"
#include "options.h"

static char why[2048];

static void accepts_what_the_grammar_allows(void)
{
	static const char *const good[] = {
		"emu0", "emu0:1", "emu0:65535", "emu0:2,emu1", "a", "Z_9", "a,A",
		"abcdefghijklmnopqrstuvwxyz_01234:9",
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		CHECK(options_check_qpu("--qpu", good[i], why, sizeof(why)) == 0);
}

static void refuses_each_slip_with_its_own_words(void)
{
	static const char slots[] = "slots of 'emu0' must be a whole number from 1 to 65535";
	static const char name[] =
		"is not the name of a QPU: a letter, then letters, digits or underscores";
	static const struct {
		const char *value;
		const char *problem;
	} bad[] = {
		{ "emu0:0", slots },      { "emu0:", slots },	   { "emu0:01", slots },
		{ "emu0:65536", slots },  { "emu0:123456", slots }, { "emu0:+1", slots },
		{ "emu0:-1", slots },	  { "emu0:1.5", slots },   { "emu0:2:3", slots },
		{ "emu0:0x2", slots },	  { "emu0:99999999999999999999", slots },
		{ "0emu", name },	  { "_emu", name },	   { "emu-0", name },
		{ "emu0;emu1", name },	  { "\xc3\xa9mu", name },  { "emu0|emu1", name },
		{ ",", "item 1 is empty" }, { "emu0,", "item 2 is empty" },
		{ ",emu0", "item 1 is empty" }, { "emu0,,emu1", "item 2 is empty" },
		{ ":2", "item 1 has no name before ':'" },
		{ "emu0,:2", "item 2 has no name before ':'" },
		{ " emu0", "blanks are not allowed" }, { "emu0, emu1", "blanks are not allowed" },
		{ "emu0\n", "blanks are not allowed" }, { " ", "blanks are not allowed" },
		{ "emu0,emu0", "'emu0' is named twice" },
		{ "emu0:1,emu1,emu0:2", "'emu0' is named twice" },
		{ "abcdefghijklmnopqrstuvwxyz_012345", "has 33 characters, at most 32" },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		why[0] = '\0';
		CHECK(options_check_qpu("--qpu", bad[i].value, why, sizeof(why)) == -1);
		CHECK_HAS(why, bad[i].problem);
	}
	options_check_qpu("--qpu", "emu0:0", why, sizeof(why));
	CHECK_STR(why, "openqse: --qpu=emu0:0: slots of 'emu0' must be a whole number from 1 to 65535");
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
		TEST(accepts_what_the_grammar_allows),
		TEST(refuses_each_slip_with_its_own_words),
		TEST(bounds_the_value),
		TEST(keeps_control_characters_off_the_terminal),
		TEST(knows_two_modes),
	};

	return run_tests("options", tests, sizeof(tests) / sizeof(tests[0]));
}
