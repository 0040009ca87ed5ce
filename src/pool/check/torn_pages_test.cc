#include "pool/check/torn_pages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "pool/check/pool_check.h"
#include "pool/check/repair.h"
#include "pool/check/test_pool_image.h"
#include "pool/format/page_journal.h"

namespace cairn::pool::check {
namespace {

using format::kPageSize;
using format::Page;
using testing::ElementsAre;

std::vector<Problem> problems(const PoolReport& report) {
  std::vector<Problem> out;
  for (const Finding& finding : report.findings) out.push_back(finding.problem);
  return out;
}

// Clusters of 128 KiB leave room behind the metadata: pages 4 + 32 up to 64.
struct TornImage : TestPoolImage {
  TornImage() : TestPoolImage(4u << 20, 128u << 10) { put(lvol(5, "lvol")); }

  void put_journal(MemoryDevice& device, const std::vector<std::pair<uint32_t, Page>>& copies) {
    const auto place = format::page_journal_place(layout);
    std::vector<format::PageJournalEntry> entries;
    for (size_t i = 0; i < copies.size(); ++i) {
      entries.push_back({.md_page = copies[i].first, .crc = crc32c(copies[i].second.view())});
      std::ranges::copy(copies[i].second.bytes, device.bytes().begin() + (place.first_page + 1 + i) * kPageSize);
    }
    format::encode_page_journal(entries, format::page_at(device.bytes(), place.first_page));
  }
  Page md_page(uint32_t index) {
    Page page;
    std::ranges::copy(md_page_bytes(index), page.bytes.begin());
    return page;
  }
};

TEST(TornPages, AreSeenAsTheJournalHasThem) {
  TornImage image;
  MemoryDevice& device = image.finish(false);
  const Page whole = image.md_page(5);
  image.md_page_bytes(5)[50] ^= std::byte{1};
  EXPECT_THAT(problems(check_pool(device)), ElementsAre(Problem::kUnclean, Problem::kDamagedRoot));
  image.put_journal(device, {{5, whole}});
  const PoolReport report = check_pool(device);
  EXPECT_THAT(problems(report), ElementsAre(Problem::kUnclean, Problem::kTornPage));
  EXPECT_NE(report.blob(format::blob_id_of(5)), nullptr);
  // A repair leaves that to the engine.
  EXPECT_EQ(plan_repair(device, {}).error().code(), Code::kFailedPrecondition);
}

TEST(TornPages, WholeAndErasedPagesAndOldCopiesAreLeftAlone) {
  TornImage image;
  MemoryDevice& device = image.finish(false);
  Page older = image.md_page(5);
  older.bytes[100] ^= std::byte{1};
  format::seal(older.span());
  image.put_journal(device, {{5, older}, {6, older}, {4000, older}, {format::kJournaledSuperBlock, older}});
  EXPECT_THAT(problems(check_pool(device)), ElementsAre(Problem::kUnclean));
  // A copy that is damaged itself.
  image.md_page_bytes(5)[50] ^= std::byte{1};
  device.bytes()[(format::page_journal_place(image.layout).first_page + 1) * kPageSize] ^= std::byte{1};
  EXPECT_THAT(problems(check_pool(device)), ElementsAre(Problem::kUnclean, Problem::kDamagedRoot));
}

TEST(TornPages, ACleanPoolHasNoUseForAJournal) {
  TornImage image;
  MemoryDevice& device = image.finish(true);
  const Page whole = image.md_page(5);
  image.md_page_bytes(5)[50] ^= std::byte{1};
  image.put_journal(device, {{5, whole}});
  EXPECT_THAT(problems(check_pool(device)), testing::Contains(Problem::kBlobMissing));
}

TEST(TornPages, TheSuperBlock) {
  TornImage image;
  MemoryDevice& device = image.finish(true);
  device.bytes()[16] = std::byte{0};  // the clean flag has changed, the CRC has not
  PoolReport report = check_pool(device);
  EXPECT_THAT(problems(report), ElementsAre(Problem::kTornPage, Problem::kUnclean));
  EXPECT_FALSE(report.super->clean);

  device.bytes()[16] = std::byte{1};
  Page super;
  std::ranges::copy(device.bytes().first(kPageSize), super.bytes.begin());
  image.put_journal(device, {{format::kJournaledSuperBlock, super}});
  device.bytes()[3000] ^= std::byte{1};
  report = check_pool(device);
  EXPECT_THAT(problems(report), ElementsAre(Problem::kTornPage, Problem::kUnclean));
}

TEST(TornPages, PoolsThatAreBeingMadeAreOfNoUse) {
  TornImage image;
  MemoryDevice& device = image.finish(false);
  format::encode_transient_mark(format::page_at(device.bytes(), 1));
  EXPECT_THAT(problems(check_pool(device)), ElementsAre(Problem::kTransient));
  EXPECT_EQ(plan_repair(device, {}).error().code(), Code::kFailedPrecondition);
}

}  // namespace
}  // namespace cairn::pool::check
