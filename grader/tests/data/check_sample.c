/* A Check program whose XML log is check_sample.xml: see README.md. */
#include <check.h>
#include <stdlib.h>

START_TEST(passes)
{
    ck_assert(1);
}
END_TEST

START_TEST(fails_with_markup_and_bytes)
{
    ck_abort_msg("expected: caf\xc3\xa9 <x> & \"q\" 'r'\n"
                 "seen: \x1b[31m \x01\xff\x7f tab\t]]>");
}
END_TEST

START_TEST(fails_in_one_of_two_rounds)
{
    ck_assert(_i < 1);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("lab");
    TCase *tcase = tcase_create("group");

    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, passes);
    tcase_add_test(tcase, fails_with_markup_and_bytes);
    tcase_add_loop_test(tcase, fails_in_one_of_two_rounds, 0, 2);
    SRunner *runner = srunner_create(suite);

    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_set_xml(runner, argc > 1 ? argv[1] : "check_sample.xml");
    srunner_run_all(runner, CK_SILENT);
    srunner_free(runner);
    return 0;
}
