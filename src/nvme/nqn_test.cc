#include "nvme/nqn.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace cairn::nvme {
namespace {

std::array<char, kNqnFieldSize> field(std::string_view text, char fill = '\0') {
  std::array<char, kNqnFieldSize> out;
  out.fill(fill);
  std::copy(text.begin(), text.end(), out.begin());
  return out;
}

TEST(Nqn, Forms) {
  const std::string longest = "nqn.2014-08.org.example:" + std::string(kMaxNqnSize - 24, 'a');
  ASSERT_EQ(longest.size(), kMaxNqnSize);
  for (std::string_view good :
       {std::string_view(kDiscoveryNqn), std::string_view("nqn.2019-05.io.openebs:4b9c9b6e"),
        std::string_view("nqn.2014-08.org.nvmexpress:uuid:0d2a36a1-0c70-4ee1-8d2b-0b0c9a6f2f11"),
        std::string_view("nqn.2001-12.a:"), std::string_view("nqn.2019-05.io.openebs:ü:x y"),
        std::string_view(longest)}) {
    EXPECT_TRUE(check_nqn(good)) << good;
  }
  const std::pair<std::string, NqnError> bad[] = {
      {"", NqnError::kEmpty},
      {longest + "a", NqnError::kTooLong},
      {"nqn.2019-05.io.openebs:\xff", NqnError::kNotUtf8},
      {"nqn.2019-05.io.openebs:\xc0\xaf", NqnError::kNotUtf8},          // overlong
      {"nqn.2019-05.io.openebs:\xed\xa0\x80", NqnError::kNotUtf8},      // surrogate
      {"nqn.2019-05.io.openebs:\xf4\x90\x80\x80", NqnError::kNotUtf8},  // above U+10FFFF
      {"nqn.2019-05.io.openebs:\xe2\x82", NqnError::kNotUtf8},          // breaks off
      {std::string("nqn.2019-05.io:a\0b", 18), NqnError::kNotUtf8},
      {"iqn.2019-05.io.openebs:x", NqnError::kNoPrefix},
      {"nqn.2019-13.io.openebs:x", NqnError::kBadDate},
      {"nqn.2019-00.io.openebs:x", NqnError::kBadDate},
      {"nqn.19-05.io.openebs:x", NqnError::kBadDate},
      {"nqn.2019-05", NqnError::kBadDate},
      {"nqn.2019-05.", NqnError::kBadDomain},
      {"nqn.2019-05.:x", NqnError::kBadDomain},
      {"nqn.2019-05.io..openebs:x", NqnError::kBadDomain},
      {"nqn.2019-05.-io:x", NqnError::kBadDomain},
      {"nqn.2019-05.io-:x", NqnError::kBadDomain},
      {"nqn.2019-05.io_x:x", NqnError::kBadDomain},
      {"nqn.2014-08.org.nvmexpress:uuid:0d2a36a1", NqnError::kBadUuid},
  };
  for (const auto& [name, error] : bad) {
    const auto result = check_nqn(name);
    ASSERT_FALSE(result) << name;
    EXPECT_EQ(result.error(), error) << name << ": " << nqn_error_text(result.error());
  }
}

TEST(Nqn, Fields) {
  EXPECT_EQ(nqn_from_field(field("anything goes")), "anything goes");
  EXPECT_EQ(nqn_from_field(field(std::string(223, 'a'))), std::string(223, 'a'));
  auto trailing = field("a");
  trailing[255] = 'x';  // not ours to judge
  EXPECT_EQ(nqn_from_field(trailing), "a");
  EXPECT_EQ(nqn_from_field(field("")), std::unexpected(NqnError::kEmpty));
  EXPECT_EQ(nqn_from_field(field(std::string(224, 'a'))), std::unexpected(NqnError::kTooLong));
  EXPECT_EQ(nqn_from_field(field("", 'a')), std::unexpected(NqnError::kNotTerminated));
  EXPECT_EQ(nqn_from_field(field("\x80")), std::unexpected(NqnError::kNotUtf8));
}

}  // namespace
}  // namespace cairn::nvme
