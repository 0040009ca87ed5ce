// Bugs that are put in on purpose, to prove that the cluster simulation would find them (docs/simulation.md). None is
// compiled unless the build is configured with CAIRN_SEEDED_BUGS; then one at a time can be switched on.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace cairn {

enum class SeededBug : uint8_t {
  kNone,
  // nexus
  kAcknowledgeFailedWrite,   // a write that a child failed is acknowledged, and the child stays
  kSkipLog,                  // what a child misses is not logged
  kSkipIntentLog,            // writes do not wait for the write-intent log
  kSkipRecord,               // a child leaves, and the store still calls it healthy
  kAcknowledgeBeforeRecord,  // a write that a leaving child misses is acknowledged before the record is saved
  kHealthyBeforeRebuild,     // the record calls a child healthy when its rebuild begins
  kForgetUnflushed,          // what a leaving child may lose with its cache is not logged
  kReadFromRebuilding,       // a child that is being rebuilt is read
  kMarkFirstRegion,          // a write across regions of the write-intent log is an intent of the first only
  kDropFlush,                // flushes are acknowledged and not sent
  kViewRevivesDevice,        // a port takes a child's device from a view that is older than its closing
  kOnlineLeavingChild,       // a child that is still leaving is brought online
  kRememberMisses,           // a write that a child missed waits for it again when it is being rebuilt
  kTrustReconnected,         // a child that was away for a moment is read as before
  // rebuild
  kResyncWrongWay,      // from the child that is behind to the healthy one
  kRebuildWithoutLock,  // segments are copied while they are written
  kForgetFailedCopy,    // a segment that could not be copied counts as copied
  // target and initiator
  kForgetToFence,       // hosts that are no longer allowed stay connected
  kForgetPredecessors,  // a host is let in while its former controller still executes commands
  // pool and disk
  kMetadataOutOfOrder,  // metadata is written without a flush between the steps
  kSkipPageJournal,     // pages are overwritten in place without a copy
  kUnclearedClusters,   // clusters that others had are handed out as they are
  kIgnoreFua,           // a write with FUA stays in the cache
};

inline constexpr std::array<std::string_view, 24> kSeededBugNames = {
    "none",
    "acknowledge_failed_write",
    "skip_log",
    "skip_intent_log",
    "skip_record",
    "acknowledge_before_record",
    "healthy_before_rebuild",
    "forget_unflushed",
    "read_from_rebuilding",
    "mark_first_region",
    "drop_flush",
    "view_revives_device",
    "online_leaving_child",
    "remember_misses",
    "trust_reconnected",
    "resync_wrong_way",
    "rebuild_without_lock",
    "forget_failed_copy",
    "forget_to_fence",
    "forget_predecessors",
    "metadata_out_of_order",
    "skip_page_journal",
    "uncleared_clusters",
    "ignore_fua",
};

#ifdef CAIRN_SEEDED_BUGS
inline SeededBug active_seeded_bug = SeededBug::kNone;
inline bool seeded(SeededBug bug) {
  return active_seeded_bug == bug;
}
#else
constexpr bool seeded(SeededBug) {
  return false;
}
#endif

}  // namespace cairn
