#include "cli/table.h"

#include <gtest/gtest.h>

namespace cairn::cli {
namespace {

TEST(Table, PadsToTheWidestCell) {
  EXPECT_EQ(render_table({"NAME", ">SIZE", "STATE"}, {{"a", "1", "online"}, {"longer", "1234567", "ok"}}, true),
            "NAME      SIZE STATE \n"
            "a            1 online\n"
            "longer 1234567 ok    \n");
}

TEST(Table, WithoutHeaderTheHeaderTakesNoRoom) {
  EXPECT_EQ(render_table({"CLAIMED_BY", ">SIZE"}, {{"a", "1"}, {"bc", "22"}}, false), "a   1\nbc 22\n");
}

TEST(Table, WidthsCountCharacters) {
  EXPECT_EQ(render_table({"N", "X"}, {{"\u00fcber", "1"}, {"abcd", "2"}}, false), "\u00fcber 1\nabcd 2\n");
}

TEST(Table, EmptyTableIsItsHeader) {
  EXPECT_EQ(render_table({"A", ">B"}, {}, true), "A B\n");
  EXPECT_EQ(render_table({"A", ">B"}, {}, false), "");
}

TEST(Table, RowsThatComeLaterKeepTheColumns) {
  Columns columns({"ID", ">N"});
  columns.fit_headers();
  columns.fit({"abc", "10"});
  EXPECT_EQ(columns.header_line("  "), "ID    N");
  EXPECT_EQ(columns.line({"abc", "10"}, "  "), "abc  10");
  EXPECT_EQ(columns.line({"a", "5"}, "  "), "a     5");
  EXPECT_EQ(columns.line({"wider", "12345"}, "  "), "wider  12345");
}

}  // namespace
}  // namespace cairn::cli
