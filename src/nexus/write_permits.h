// What one reactor may write without asking: the regions of which the write-intent log says durably that they may be
// under way. In such a region a write costs a look at one bit and a note in another one.
//
// A write elsewhere is held, its regions are asked for at home, all that came up meanwhile with one message, and it is
// tried again when the answer is there. What was not used for a while is taken back (withdraw()).
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "nexus/region_map.h"
#include "nvme/status.h"
#include "runtime/message.h"
#include "runtime/reactor.h"

namespace cairn::nexus {

class WritePermits {
 public:
  // On the home reactor.
  class Keeper {
   public:
    // Must lead to permits.answer().
    virtual void on_asked(WritePermits& permits) = 0;

   protected:
    ~Keeper() = default;
  };

  // `region_shift`: blocks of a region, as a power of two. `answered(status)`: on the reactor, success means
  // granted; asks_for() still holds.
  WritePermits(Keeper& keeper, runtime::Reactor& home, runtime::Reactor& here, unsigned region_shift,
               uint64_t num_regions, std::function<void(nvme::Status)> answered)
      : home_(home),
        here_(here),
        region_shift_(region_shift),
        granted_(num_regions),
        touched_(num_regions),
        wanted_(num_regions),
        asked_(num_regions),
        answered_(std::move(answered)),
        to_home_([this, &keeper] { keeper.on_asked(*this); }),
        to_here_([this] { take_answer(); }) {}
  WritePermits(const WritePermits&) = delete;
  WritePermits& operator=(const WritePermits&) = delete;

  // On the reactor.

  // Whether a write may start. If not, `answered` follows.
  bool allow(uint64_t lba, uint64_t num_blocks) {
    const uint64_t first = lba >> region_shift_, last = (lba + num_blocks - 1) >> region_shift_;
    if (first == last && granted_.test(first)) {
      touched_.set(first);
      return true;
    }
    return allow_range(first, last);
  }
  // Whether it is part of the question that was answered.
  bool asks_for(uint64_t lba, uint64_t num_blocks) const {
    return asked_.next(lba >> region_shift_) <= (lba + num_blocks - 1) >> region_shift_;
  }
  bool asking() const { return asking_; }
  void note_in_flight(RegionMap& map, uint64_t lba, uint64_t num_blocks) const {
    for (uint64_t region = lba >> region_shift_; region <= (lba + num_blocks - 1) >> region_shift_; ++region) {
      map.set(region);
    }
  }
  // Takes back what is neither in flight nor, unless `at_once`, was used since the last time. Adds what stays to
  // `kept`.
  void withdraw(const RegionMap& in_flight, bool at_once, RegionMap& kept) {
    RegionMap idle = granted_;
    idle.remove(in_flight);
    if (!at_once) idle.remove(touched_);
    granted_.remove(idle);
    touched_.clear();
    kept.add(granted_);
    if (asking_) kept.add(asked_);  // the answer may be on its way
  }
  void grow(uint64_t num_regions) {
    for (RegionMap* map : {&granted_, &touched_, &wanted_}) map->resize(num_regions);
  }

  // At home, between on_asked() and answer().
  const RegionMap& asked() const { return asked_; }
  void answer(nvme::Status status) {
    answer_ = status;
    here_.post(to_here_);
  }

 private:
  bool allow_range(uint64_t first, uint64_t last) {
    bool all = true;
    for (uint64_t region = first; region <= last; ++region) {
      if (granted_.test(region)) continue;
      all = false;
      if (asking_ && asked_.test(region)) continue;
      wanted_.set(region);
      wants_ = true;
    }
    if (!all) {
      ask();
      return false;
    }
    for (uint64_t region = first; region <= last; ++region) touched_.set(region);
    return true;
  }
  void ask() {
    if (asking_ || !wants_) return;
    std::swap(asked_, wanted_);
    wanted_.clear();
    wanted_.resize(granted_.size());
    wants_ = false;
    asking_ = true;
    home_.post(to_home_);
  }
  void take_answer() {
    if (answer_.is_success()) granted_.add(asked_);
    asking_ = false;
    answered_(answer_);
    if (!asking_) asked_.clear();
    ask();
  }

  runtime::Reactor& home_;
  runtime::Reactor& here_;
  const unsigned region_shift_;
  RegionMap granted_;
  RegionMap touched_;  // of the granted: written since the last withdraw()
  RegionMap wanted_;   // for the next question
  RegionMap asked_;    // the question under way
  bool wants_ = false;
  bool asking_ = false;
  nvme::Status answer_;
  const std::function<void(nvme::Status)> answered_;
  runtime::Message to_home_;
  runtime::Message to_here_;
};

}  // namespace cairn::nexus
