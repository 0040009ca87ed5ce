#include "nvmf/target/reservation_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <optional>
#include <string>
#include <vector>

#include "runtime/backend.h"
#include "runtime/sim/world.h"

namespace cairn::nvmf::target {
namespace {

using nvme::ReservationType;
using runtime::sim::CrashKind;
using runtime::sim::Node;
using runtime::sim::RunResult;
using runtime::sim::World;
using std::chrono::microseconds;
using std::chrono::seconds;
using testing::HasSubstr;

const Uuid kDevice = *Uuid::parse("0a1b2c3d-1111-4222-8333-444455556666");
const Uuid kHostA = *Uuid::parse("aaaaaaaa-0000-4000-8000-000000000001");
const Uuid kHostB = *Uuid::parse("bbbbbbbb-0000-4000-8000-000000000002");
constexpr const char* kPath = "/var/ptpl/pool/p/replica/r.json";

Reservation::State held_state() {
  Reservation::State state;
  state.persist = true;
  state.registrants = {{kHostA.bytes(), {11}}, {kHostB.bytes(), {UINT64_MAX}}};
  state.type = ReservationType::kWriteExclusiveRegistrantsOnly;
  state.holder = kHostB.bytes();
  state.holder_key = UINT64_MAX;
  return state;
}
Reservation::State registered_state(uint64_t key) {
  Reservation::State state;
  state.persist = true;
  state.registrants = {{kHostA.bytes(), {key}}};
  return state;
}

// ---- Text ----

TEST(ReservationText, RoundTrip) {
  for (const Reservation::State& state : {held_state(), registered_state(1), Reservation::State{}}) {
    const auto decoded = decode_reservation(encode_reservation(state, kDevice), kDevice);
    ASSERT_TRUE(decoded) << decoded.error().to_string();
    EXPECT_EQ(*decoded, state);
  }
}

TEST(ReservationText, EmptyWhilePersistenceIsOff) {
  Reservation::State state = held_state();
  state.persist = false;
  EXPECT_EQ(encode_reservation(state, kDevice), "");
}

TEST(ReservationText, LargestFits) {
  Reservation::State state;
  state.persist = true;
  for (size_t i = 0; i < Reservation::kMaxRegistrants; ++i) {
    HostId id{};
    id[0] = static_cast<uint8_t>(i);
    state.registrants[id].key = UINT64_MAX;
  }
  EXPECT_LE(encode_reservation(state, kDevice).size(), ReservationStore::kMaxFileSize);
}

// As the original writes it (nvmf-target.md, section 6).
constexpr std::string_view kOriginal =
    R"({"ptpl": true, "rtype": 1, "crkey": 11, "bdev_uuid": "0a1b2c3d-1111-4222-8333-444455556666",
        "holder_uuid": "aaaaaaaa-0000-4000-8000-000000000001",
        "registrants": [{"rkey": 11, "host_uuid": "aaaaaaaa-0000-4000-8000-000000000001"},
                        {"rkey": 12, "host_uuid": "bbbbbbbb-0000-4000-8000-000000000002"}]})";

std::string changed(std::string_view from, std::string_view to) {
  std::string text(kOriginal);
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(ReservationText, TheOriginals) {
  const auto state = decode_reservation(kOriginal, kDevice);
  ASSERT_TRUE(state) << state.error().to_string();
  EXPECT_TRUE(state->persist);
  EXPECT_EQ(state->type, ReservationType::kWriteExclusive);
  EXPECT_EQ(state->holder, kHostA.bytes());
  EXPECT_EQ(state->holder_key, 11u);
  EXPECT_EQ(state->registrants.at(kHostB.bytes()).key, 12u);
  EXPECT_EQ(state->generation, 0u);
}

TEST(ReservationText, WithoutHolder) {
  const auto state = decode_reservation(changed("\"crkey\": 11", "\"crkey\": 0"), kDevice);
  ASSERT_TRUE(state) << state.error().to_string();
  EXPECT_EQ(state->holder, std::nullopt);
  EXPECT_EQ(state->type, ReservationType::kNone) << "a type without a holder is nothing";
  EXPECT_EQ(state->registrants.size(), 2u);
}

TEST(ReservationText, NothingStored) {
  for (const std::string& text : {std::string(), std::string(" \n"), changed("true", "false")}) {
    const auto state = decode_reservation(text, kDevice);
    ASSERT_TRUE(state) << state.error().to_string();
    EXPECT_EQ(*state, Reservation::State{});
  }
}

TEST(ReservationText, Damaged) {
  struct Row {
    std::string text;
    const char* what;
  };
  const std::vector<Row> rows = {
      {"{", "not JSON"},
      {"[]", "not a JSON object"},
      {std::string(3, '\0'), "not JSON"},
      {std::string(kOriginal.substr(0, kOriginal.size() / 2)), "not JSON"},
      {"{}", "\"ptpl\" is missing"},
      {changed("true", "1"), "\"ptpl\" is 1"},
      {changed("\"rtype\": 1", "\"rtype\": 7"), "\"rtype\" is 7, not a number of 0 to 6"},
      {changed("\"rtype\": 1", "\"rtype\": -1"), "\"rtype\" is -1"},
      {changed("\"rtype\": 1", "\"rtype\": 0"), "there is a holder, but \"rtype\" is 0"},
      {changed("\"rtype\": 1", "\"rtype\": 1.5"), "\"rtype\" is 1.5"},
      {changed("\"crkey\": 11", "\"crkey\": \"11\""), "\"crkey\" is \"11\""},
      {changed("\"crkey\": 11", "\"crkey\": 12"), "\"crkey\" is 0xc, the holder is registered with 0xb"},
      {changed("\"bdev_uuid\"", "\"bdev\""), "\"bdev_uuid\" is missing"},
      {changed("0a1b2c3d", "0a1b2c3"), "\"bdev_uuid\" is \"0a1b2c3-"},
      {changed("\"holder_uuid\"", "\"holder\""), "\"holder_uuid\" is missing"},
      {changed("\"holder_uuid\": \"aaaaaaaa", "\"holder_uuid\": \"cccccccc"), "is not among the registrants"},
      {changed("\"registrants\"", "\"others\""), "\"registrants\" is missing"},
      {changed("\"rkey\": 12", "\"rkey\": 0"), "has the key 0"},
      {changed("\"rkey\": 12", "\"rkey\": null"), "\"rkey\" is null"},
      {changed("\"rkey\": 12, ", ""), "\"rkey\" is missing"},
      {changed("bbbbbbbb-0000-4000-8000-000000000002", "aaaaaaaa-0000-4000-8000-000000000001"), "registered twice"},
      {changed(R"({"rkey": 12, "host_uuid": "bbbbbbbb-0000-4000-8000-000000000002"})", "5"), "is not an object"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.text);
    const auto state = decode_reservation(row.text, kDevice);
    ASSERT_FALSE(state);
    EXPECT_EQ(state.error().code(), Code::kDataLoss);
    EXPECT_THAT(state.error().message(), HasSubstr(row.what));
  }
}

TEST(ReservationText, OfAnotherDevice) {
  const auto state = decode_reservation(kOriginal, kHostA);
  ASSERT_FALSE(state);
  EXPECT_EQ(state.error().code(), Code::kInvalidArgument);
  EXPECT_THAT(state.error().message(), HasSubstr(kDevice.to_string()));
}

// ---- File ----

class ReservationStoreTest : public testing::Test {
 protected:
  void build(uint64_t seed) {
    world_ = std::make_unique<World>(runtime::sim::WorldOptions{.seed = seed});
    node_ = &world_->add_node({});
    node_->start();
  }
  template <typename MakeTask>
  void run(MakeTask make_task) {
    ASSERT_EQ(world_->run_task(*node_, "test", make_task(), seconds(60)), RunResult::kDone);
  }
  Result<Reservation::State> load() {
    std::optional<Result<Reservation::State>> state;
    run([&]() -> runtime::Task<> {
      ReservationStore store(kPath, kDevice);
      state = co_await store.load();
    });
    return *state;
  }
  std::optional<std::string> text() {
    const auto content = node_->files().content(kPath);
    if (!content) return std::nullopt;
    return std::string(reinterpret_cast<const char*>(content->data()), content->size());
  }
  void put(std::string_view content) { node_->files().put_content(kPath, std::as_bytes(std::span(content))); }

  std::unique_ptr<World> world_;
  Node* node_ = nullptr;
};

TEST_F(ReservationStoreTest, SavesAndLoads) {
  build(1);
  run([]() -> runtime::Task<> {
    ReservationStore store(kPath, kDevice);
    const auto nothing = co_await store.load();
    EXPECT_TRUE(nothing && *nothing == Reservation::State{});
    EXPECT_TRUE(co_await store.save(held_state()));
  });
  const auto state = load();
  ASSERT_TRUE(state) << state.error().to_string();
  EXPECT_EQ(*state, held_state());
  EXPECT_EQ(node_->files().list("/var/ptpl/pool/p/replica/").size(), 1u) << "no temporary file stays";
}

TEST_F(ReservationStoreTest, EmptiedWhenPersistenceEnds) {
  build(1);
  run([]() -> runtime::Task<> {
    ReservationStore store(kPath, kDevice);
    EXPECT_TRUE(co_await store.load());
    EXPECT_TRUE(co_await store.save(Reservation::State{}));
  });
  EXPECT_EQ(text(), std::nullopt) << "nothing to store, no file";
  run([]() -> runtime::Task<> {
    ReservationStore store(kPath, kDevice);
    EXPECT_TRUE(co_await store.save(held_state()));
    Reservation::State off = held_state();
    off.persist = false;
    EXPECT_TRUE(co_await store.save(off));
  });
  EXPECT_EQ(text(), "");
  const auto state = load();
  ASSERT_TRUE(state);
  EXPECT_EQ(*state, Reservation::State{});
}

TEST_F(ReservationStoreTest, DamagedFileIsNamedAndLeftAlone) {
  build(1);
  put("{\"ptpl\": tru");
  const auto state = load();
  ASSERT_FALSE(state);
  EXPECT_EQ(state.error().code(), Code::kDataLoss);
  EXPECT_THAT(state.error().to_string(), HasSubstr(kPath));
  EXPECT_THAT(state.error().to_string(), HasSubstr("not JSON"));
  EXPECT_EQ(text(), "{\"ptpl\": tru");
}

TEST_F(ReservationStoreTest, TooLargeFile) {
  build(1);
  put(std::string(ReservationStore::kMaxFileSize + 1, ' '));
  const auto state = load();
  ASSERT_FALSE(state);
  EXPECT_THAT(state.error().to_string(), HasSubstr("65537 bytes"));
}

TEST_F(ReservationStoreTest, UnreadableFile) {
  build(1);
  run([]() -> runtime::Task<> {
    ReservationStore store(kPath, kDevice);
    EXPECT_TRUE(co_await store.save(held_state()));
  });
  node_->files().fail_reads(kPath, 0, 512);
  const auto state = load();
  ASSERT_FALSE(state);
  EXPECT_THAT(state.error().to_string(), HasSubstr("cannot be read"));
}

TEST_F(ReservationStoreTest, FailedSaveKeepsTheOldState) {
  for (const bool fail_flush : {false, true}) {
    build(1);
    run([]() -> runtime::Task<> {
      ReservationStore store(kPath, kDevice);
      EXPECT_TRUE(co_await store.save(held_state()));
    });
    auto& disk = node_->files().root_disk();
    if (fail_flush) {
      disk.set_faults({.flush_error = -EIO});
    } else {
      disk.set_faults({.write_error = -ENOSPC});
    }
    run([&]() -> runtime::Task<> {
      ReservationStore store(kPath, kDevice);
      const auto saved = co_await store.save(registered_state(5));
      CAIRN_CHECK(!saved);
      EXPECT_THAT(saved.error().to_string(), HasSubstr(kPath));
      EXPECT_THAT(saved.error().to_string(), HasSubstr("cannot be written"));
      disk.set_faults({});
    });
    const auto state = load();
    ASSERT_TRUE(state) << state.error().to_string();
    EXPECT_EQ(*state, held_state());
  }
}

// A failed emptying must be tried again by the next save.
TEST_F(ReservationStoreTest, FailedEmptyingIsNotForgotten) {
  build(1);
  auto& disk = node_->files().root_disk();
  run([&]() -> runtime::Task<> {
    ReservationStore store(kPath, kDevice);
    EXPECT_TRUE(co_await store.save(held_state()));
    disk.set_faults({.flush_error = -EIO});
    EXPECT_FALSE(co_await store.save(Reservation::State{}));
    disk.set_faults({});
    EXPECT_TRUE(co_await store.save(Reservation::State{}));
  });
  EXPECT_EQ(text(), "");
}

// The machine loses power at every moment of a series of saves. What comes back is the state of the last save that had
// returned or the one that was being saved: never an older one, never neither.
TEST_F(ReservationStoreTest, PowerLossAtAnyMoment) {
  int between = 0;  // crashes that hit a save which had begun and not returned
  int newer = 0;    // of those: the new state was there
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    SCOPED_TRACE(seed);
    build(seed);
    uint64_t begun = 0;
    uint64_t returned = 0;
    const auto saves = [](uint64_t& begun, uint64_t& returned) -> runtime::Task<> {
      ReservationStore store(kPath, kDevice);
      for (uint64_t key = 1;; ++key) {
        begun = key;
        // Every third state is the empty one: emptying the file has to be as safe.
        const auto saved = co_await store.save(key % 3 == 0 ? Reservation::State{} : registered_state(key));
        CAIRN_CHECK(saved.has_value());
        returned = key;
      }
    };
    {
      runtime::Reactor::Scope scope(node_->reactor(0));
      node_->reactor(0).spawn("saves", saves(begun, returned));
    }
    world_->run_for(microseconds(world_->random().below(20'000)));
    const uint64_t last_returned = returned;
    const uint64_t last_begun = begun;
    node_->crash(seed % 4 == 0 ? CrashKind::kKill : CrashKind::kPowerLoss);
    node_->restart();

    const auto state = load();
    ASSERT_TRUE(state) << state.error().to_string();
    const auto is_state_of = [&](uint64_t key) {
      return *state == (key % 3 == 0 ? Reservation::State{} : registered_state(key));
    };
    ASSERT_TRUE(is_state_of(last_returned) || is_state_of(last_begun))
        << "save " << last_returned << " had returned, " << last_begun << " had begun";
    if (last_begun != last_returned) {
      ++between;
      if (!is_state_of(last_returned)) ++newer;
    }
  }
  EXPECT_GT(between, 100);
  EXPECT_GT(newer, 0);
  EXPECT_LT(newer, between);
}

}  // namespace
}  // namespace cairn::nvmf::target
