// Imports of what a crash of the original has left half done, themselves interrupted at every write.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/log.h"
#include "pool/format/blob_chain.h"
#include "pool/format/extent_page.h"
#include "pool/format/lvol_attributes.h"
#include "pool/test_site.h"

namespace cairn::pool {
namespace {

using runtime::Task;

constexpr uint64_t kNumClusters = 6;

std::vector<std::byte> bytes_of(const format::Page& page) {
  return {page.bytes.begin(), page.bytes.end()};
}
format::Page page_at(TestSite& site, const format::Layout& layout, uint32_t md_page) {
  format::Page page;
  std::ranges::copy(site.page_on_disk(layout.md_page_offset(md_page)), page.bytes.begin());
  return page;
}

// The volume of that name, whose chain is one page.
format::BlobMetadata find_on_disk(TestSite& site, const format::Layout& layout, std::string_view name) {
  for (uint32_t md_page = 0; md_page < 64; ++md_page) {
    const auto page = page_at(site, layout, md_page);
    format::ChainDecoder decoder(format::blob_id_of(md_page), layout);
    if (!decoder.add(page.view())) continue;
    auto blob = decoder.finish();
    if (!blob) continue;
    const auto attributes = format::decode_lvol_attributes(blob->xattrs);
    if (attributes && attributes->name == name) return std::move(*blob);
  }
  ADD_FAILURE() << name << " is not on the disk";
  return {};
}

std::vector<std::byte> content_of(const std::string& name, uint64_t cluster) {
  return pattern(4096, cluster + (name == "r1" && cluster >= 1 && cluster <= 2 ? 100 : 0));
}

// A snapshot s1 of r1 that was about to be destroyed: it is marked, and the original has written r1's extent page with
// everything that r1 saw through it, in place.
void leave_half_merged(TestSite& site) {
  auto pool = site.create("tpool", kMiB);
  ASSERT_TRUE(site.create_replica(*pool, 1, kNumClusters * kMiB, true));
  for (uint64_t cluster = 0; cluster < kNumClusters; ++cluster) {
    ASSERT_TRUE(site.write("r1", cluster * kMiB, content_of("s1", cluster)).is_success());
  }
  ASSERT_TRUE(site.run(pool->create_snapshot(site.replica("r1"), {.name = "s1",
                                                                  .uuid = TestSite::uuid_of(11).to_string(),
                                                                  .entity_id = "e",
                                                                  .txn_id = "t",
                                                                  .create_time = "2024-10-09 11:22:33 UTC"})));
  for (uint64_t cluster = 1; cluster <= 2; ++cluster) {
    ASSERT_TRUE(site.write("r1", cluster * kMiB, content_of("r1", cluster)).is_success());
  }
  ASSERT_TRUE(site.io("r1", {.type = block::IoType::kFlush}).is_success());
  const format::Layout layout = pool->layout();
  pool.reset();
  site.crash(sim::CrashKind::kKill);
  site.restart();

  auto snapshot = find_on_disk(site, layout, "s1");
  const auto child = find_on_disk(site, layout, "r1");
  ASSERT_EQ(snapshot.extent_table.size(), 1u);
  ASSERT_EQ(child.extent_table.size(), 1u);
  const auto below = page_at(site, layout, snapshot.extent_table[0]);
  const auto above = page_at(site, layout, child.extent_table[0]);
  const auto theirs = format::decode_extent_page(below.view());
  const auto own = format::decode_extent_page(above.view());
  ASSERT_TRUE(theirs && own);
  std::vector<uint32_t> merged;
  for (uint32_t i = 0; i < kNumClusters; ++i) {
    merged.push_back((*own)[i] != format::kNoCluster ? (*own)[i] : (*theirs)[i]);
  }
  format::Page page;
  format::encode_extent_page(child.id, 0, merged, page.span());
  site.put_on_disk(layout.md_page_offset(child.extent_table[0]), bytes_of(page));
  snapshot.set_link(format::kSnapshotRemovalLink, child.id);
  format::Page root;
  format::encode_chain(snapshot, {}, root.bytes);
  site.put_on_disk(layout.md_page_offset(format::root_page_of(snapshot.id)), bytes_of(root));
}

// Whether the import was over before it had done so many writes and flushes.
bool import_interrupted(TestSite& site, uint64_t limit) {
  const auto count = [&] { return site.disk().counters().writes + site.disk().counters().flushes; };
  const uint64_t start = count();
  bool done = false;
  {
    const runtime::Reactor::Scope scope(site.reactor());
    site.reactor().spawn("import", [](TestSite& site, bool& done) -> Task<> {
      auto imported = co_await site.pools().import({.name = "tpool", .uuid = {}, .disks = {site.disk_uri()}});
      EXPECT_TRUE(imported) << imported.error().to_string();
      done = true;
    }(site, done));
  }
  site.run_until([&] { return done || count() - start >= limit; });
  site.crash(sim::CrashKind::kPowerLoss);
  site.restart();
  return done;
}

TEST(PoolRecoveryTest, AHalfMadeMergeIsUndone) {
  log::set_level(log::Level::kOff);
  constexpr uint64_t kSeeds = 8;  // each leaves something else of what was not flushed
  for (const uint32_t block_size : {512u, 4096u}) {
    bool over = false;
    for (uint64_t limit = 0; !over && !HasFailure(); ++limit) {
      for (uint64_t seed = 1; seed <= kSeeds && !HasFailure(); ++seed) {
        SCOPED_TRACE(fmt::format("after {} writes, seed {}, blocks of {}", limit, seed, block_size));
        TestSite site({.seed = seed, .block_size = block_size, .tear_unit = block_size});
        leave_half_merged(site);
        over = import_interrupted(site, limit);
        ASSERT_NE(site.import(), nullptr);
        for (const std::string name : {"r1", "s1"}) {
          for (uint64_t cluster = 0; cluster < kNumClusters; ++cluster) {
            EXPECT_EQ(site.read(name, cluster * kMiB, 4096), content_of(name, cluster)) << name << ' ' << cluster;
          }
        }
        EXPECT_EQ(site.pools().find("tpool")->info().used, (kNumClusters + 2) * kMiB);
        ASSERT_TRUE(site.run(site.pools().export_pool("tpool")));
        SimDisk disk(site);
        const auto report = check::check_pool(disk);
        EXPECT_FALSE(report.has(check::Severity::kWarning)) << report.text();
      }
    }
  }
  log::set_level(log::Level::kInfo);
}

}  // namespace
}  // namespace cairn::pool
