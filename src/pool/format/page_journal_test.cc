#include "pool/format/page_journal.h"

#include <gtest/gtest.h>

namespace cairn::pool::format {
namespace {

constexpr uint64_t kMiB = 1u << 20;

TEST(PageJournal, LiesBehindTheMetadata) {
  const Layout layout = plan_layout({.device_bytes = 100 * kMiB}).value();
  const PageJournalPlace place = page_journal_place(layout);
  EXPECT_EQ(place.first_page, 29u);
  EXPECT_EQ(place.capacity, 126u);
  // Three pages are left: a header and two copies.
  const Layout tight = plan_layout({.device_bytes = 38 * 4 * kMiB, .cluster_size = 4 * kMiB}).value();
  Layout nearly_full = tight;
  nearly_full.md_len = 1024 - nearly_full.md_start - 3;
  EXPECT_EQ(page_journal_place(nearly_full).capacity, 2u);
  nearly_full.md_len += 2;
  EXPECT_EQ(page_journal_place(nearly_full).capacity, 0u);
}

TEST(PageJournal, RoundTrip) {
  const std::vector<PageJournalEntry> entries = {{5, 0x1234}, {kJournaledSuperBlock, 7}};
  Page header;
  encode_page_journal(entries, header.span());
  EXPECT_EQ(decode_page_journal(header.view(), 2), entries);
  EXPECT_EQ(decode_page_journal(header.view(), 1), std::nullopt);
  for (const size_t byte : {0, 8, 20, 4092}) {
    Page damaged = header;
    damaged.bytes[byte] ^= std::byte{1};
    EXPECT_EQ(decode_page_journal(damaged.view(), 126), std::nullopt) << byte;
  }
  EXPECT_EQ(decode_page_journal(Page().view(), 126), std::nullopt);
}

TEST(PageJournal, TornIsNeitherWholeNorErased) {
  Page page;
  EXPECT_FALSE(is_torn(page.view()));
  page.bytes[7] = std::byte{1};
  EXPECT_TRUE(is_torn(page.view()));
  seal(page.span());
  EXPECT_FALSE(is_torn(page.view()));
}

TEST(PageJournal, MendsACleanFlagWithTheOtherValuesCrc) {
  SuperBlock super = make_super_block(plan_layout({.device_bytes = 100 * kMiB}).value());
  super.clean = true;
  Page page;
  encode_super_block(super, page.span());
  const Page good = page;
  page.bytes[16] = std::byte{0};
  EXPECT_TRUE(mend_clean_flag(page.span()));
  EXPECT_EQ(page.bytes, good.bytes);
  page.bytes[16] = std::byte{2};
  EXPECT_FALSE(mend_clean_flag(page.span()));
  page = good;
  page.bytes[100] = std::byte{2};
  const Page damaged = page;
  EXPECT_FALSE(mend_clean_flag(page.span()));
  EXPECT_EQ(page.bytes, damaged.bytes);
}

TEST(Watermark, RoundTrip) {
  Page page;
  EXPECT_EQ(decode_watermark(page.view(), 100), std::nullopt);
  encode_watermark(100, page.span());
  EXPECT_EQ(decode_watermark(page.view(), 100), 100u);
  EXPECT_EQ(decode_watermark(page.view(), 99), std::nullopt);
  page.bytes[8] ^= std::byte{1};
  EXPECT_EQ(decode_watermark(page.view(), 200), std::nullopt);
}

TEST(TransientMark, IsRecognised) {
  Page page;
  EXPECT_FALSE(is_transient_mark(page.view()));
  encode_transient_mark(page.span());
  EXPECT_TRUE(is_transient_mark(page.view()));
}

}  // namespace
}  // namespace cairn::pool::format
