// A target that breaks the protocol: the initiator notices, ends the connection and carries on with a new one; nothing
// hangs, nothing is believed.
#include <gtest/gtest.h>

#include "initiator_site.h"
#include "tampering_proxy.h"

namespace cairn::nvmf {
namespace {

using block::IoType;
using nvme::PduType;
using runtime::sim::Node;

constexpr const char* kProxyAddress = "10.0.0.3:8420";

class HostileTarget : public testing::Test {
 protected:
  void build(uint64_t seed, const std::string& parameters) {
    site_ = std::make_unique<InitiatorSite>(target::SimSiteOptions{.seed = seed, .num_blocks = 4096});
    proxy_ = &site_->world().add_node({.name = "proxy"});
    ASSERT_TRUE(proxy_->owns_address("10.0.0.3"));
    proxy_->start([](Node&) {
      return std::make_unique<TamperingProxy>(*runtime::SocketAddress::ip("10.0.0.3", 8420),
                                              *runtime::SocketAddress::ip("10.0.0.1", 8420));
    });
    parameters_ = parameters;
  }
  Result<> open() { return site_->open(InitiatorSite::uri(parameters_, kProxyAddress)); }
  TamperingProxy& proxy() { return proxy_->program<TamperingProxy>(); }

  // Writes a pattern and reads it.
  void write_and_read(uint8_t pattern, size_t size) {
    std::vector<std::byte> data(size, std::byte{pattern});
    EXPECT_EQ(site_->io({.type = IoType::kWrite, .lba = 8}, &data).to_string(), nvme::Status::success().to_string());
    std::ranges::fill(data, std::byte{0});
    EXPECT_EQ(site_->io({.type = IoType::kRead, .lba = 8}, &data).to_string(), nvme::Status::success().to_string());
    EXPECT_EQ(data, std::vector<std::byte>(size, std::byte{pattern}));
  }

  std::unique_ptr<InitiatorSite> site_;
  Node* proxy_ = nullptr;
  std::string parameters_;
};

PduType type_of(const Pdu& pdu) {
  return nvme::load<nvme::PduCommonHeader>(pdu).type;
}

template <typename T>
Pdu changed(Pdu pdu, void (*change)(T&)) {
  auto value = nvme::load<T>(pdu);
  change(value);
  nvme::store(pdu, value);
  return pdu;
}

struct Fault {
  const char* name;
  PduType type;  // the next PDU of this type is tampered with
  Tampering (*tamper)(Pdu pdu);
  bool resets = true;  // the connection
  const char* parameters = "";
  bool comes_late = false;  // the I/O is over before it is noticed
};

template <typename T, auto Change>
Tampering change_it(Pdu pdu) {
  return {.send = {changed<T>(std::move(pdu), +Change)}};
}

Pdu response_to(uint16_t cid) {
  Pdu pdu(nvme::kMaxHeaderSize);
  const size_t size = nvme::encode_capsule_resp(std::span<std::byte, nvme::kMaxHeaderSize>(pdu), {.cid = cid}, {});
  pdu.resize(size);
  return pdu;
}

const Fault kFaults[] = {
    {"answer with another CID", PduType::kCapsuleResp,
     [](Pdu pdu) {
       return change_it<nvme::CapsuleResp, [](nvme::CapsuleResp& p) { p.cqe.cid ^= 1; }>(std::move(pdu));
     }},
    {"answer with a CID of an earlier use", PduType::kCapsuleResp,
     [](Pdu pdu) {
       return change_it<nvme::CapsuleResp, [](nvme::CapsuleResp& p) { p.cqe.cid ^= 0x8000; }>(std::move(pdu));
     }},
    {"answer twice", PduType::kCapsuleResp, [](Pdu pdu) { return Tampering{.send = {pdu, pdu}}; }},
    {"answer to a read without its data", PduType::kC2hData,
     [](Pdu pdu) { return Tampering{.send = {response_to(nvme::load<nvme::C2hData>(pdu).cccid)}}; }},
    {"data twice", PduType::kC2hData, [](Pdu pdu) { return Tampering{.send = {pdu, pdu}}; }, true, "", true},
    {"data with another CCCID", PduType::kC2hData,
     [](Pdu pdu) { return change_it<nvme::C2hData, [](nvme::C2hData& p) { p.cccid ^= 1; }>(std::move(pdu)); }},
    {"data out of range", PduType::kC2hData,
     [](Pdu pdu) { return change_it<nvme::C2hData, [](nvme::C2hData& p) { p.datao = 512; }>(std::move(pdu)); }},
    {"data length that is not the PDU's", PduType::kC2hData,
     [](Pdu pdu) { return change_it<nvme::C2hData, [](nvme::C2hData& p) { p.datal -= 4; }>(std::move(pdu)); }},
    {"more data than asked for", PduType::kC2hData,
     [](Pdu pdu) {
       pdu.resize(pdu.size() + 512);
       return change_it<nvme::C2hData, [](nvme::C2hData& p) {
         p.datal += 512;
         p.common.plen += 512;
       }>(std::move(pdu));
     }},
    {"less data than asked for, with SUCCESS", PduType::kC2hData,
     [](Pdu pdu) {
       pdu.resize(pdu.size() - 512);
       return change_it<nvme::C2hData, [](nvme::C2hData& p) {
         p.datal -= 512;
         p.common.plen -= 512;
       }>(std::move(pdu));
     }},
    {"R2T with another CCCID", PduType::kR2t,
     [](Pdu pdu) { return change_it<nvme::R2t, [](nvme::R2t& p) { p.cccid ^= 1; }>(std::move(pdu)); }},
    {"R2T out of range", PduType::kR2t,
     [](Pdu pdu) { return change_it<nvme::R2t, [](nvme::R2t& p) { p.r2tl += 4; }>(std::move(pdu)); }},
    {"R2T for nothing", PduType::kR2t,
     [](Pdu pdu) { return change_it<nvme::R2t, [](nvme::R2t& p) { p.r2tl = 0; }>(std::move(pdu)); }},
    {"success before the data was asked for", PduType::kR2t,
     [](Pdu pdu) { return Tampering{.send = {response_to(nvme::load<nvme::R2t>(pdu).cccid)}}; }},
    {"R2T twice", PduType::kR2t, [](Pdu pdu) { return Tampering{.send = {pdu, pdu}}; }},
    {"R2T from within the data", PduType::kR2t,
     [](Pdu pdu) { return change_it<nvme::R2t, [](nvme::R2t& p) { p.r2to = 4, p.r2tl -= 4; }>(std::move(pdu)); }},
    {"unknown PDU type", PduType::kCapsuleResp,
     [](Pdu pdu) {
       return change_it<nvme::CapsuleResp, [](nvme::CapsuleResp& p) { p.common.type = static_cast<PduType>(0x55); }>(
           std::move(pdu));
     }},
    {"a PDU that only hosts send", PduType::kCapsuleResp,
     [](Pdu pdu) {
       return change_it<nvme::CapsuleResp, [](nvme::CapsuleResp& p) { p.common.type = PduType::kCapsuleCmd; }>(
           std::move(pdu));
     }},
    {"a second ICResp", PduType::kCapsuleResp,
     [](Pdu) {
       Pdu pdu(nvme::kMaxHeaderSize);
       pdu.resize(nvme::encode_ic_resp(std::span<std::byte, nvme::kMaxHeaderSize>(pdu), 0, 0, 131072));
       return Tampering{.send = {pdu}};
     }},
    {"wrong HLEN", PduType::kCapsuleResp,
     [](Pdu pdu) {
       return change_it<nvme::CapsuleResp, [](nvme::CapsuleResp& p) { p.common.hlen = 23; }>(std::move(pdu));
     }},
    {"huge PLEN", PduType::kC2hData,
     [](Pdu pdu) {
       return change_it<nvme::C2hData, [](nvme::C2hData& p) { p.common.plen = 0xffffffff; }>(std::move(pdu));
     }},
    {"digest flag without digests", PduType::kCapsuleResp,
     [](Pdu pdu) {
       return change_it<nvme::CapsuleResp, [](nvme::CapsuleResp& p) { p.common.flags |= nvme::kPduHeaderDigest; }>(
           std::move(pdu));
     }},
    {"wrong header digest", PduType::kCapsuleResp,
     [](Pdu pdu) {
       pdu.back() ^= std::byte{1};
       return Tampering{.send = {pdu}};
     },
     true, "hdgst=1"},
    {"wrong data digest", PduType::kC2hData,
     [](Pdu pdu) {
       pdu.back() ^= std::byte{1};
       return Tampering{.send = {pdu}};
     },
     false, "ddgst=1"},
    {"damaged data", PduType::kC2hData,
     [](Pdu pdu) {
       pdu[pdu.size() / 2] ^= std::byte{1};
       return Tampering{.send = {pdu}};
     },
     false, "ddgst=1"},
    {"termination request", PduType::kCapsuleResp,
     [](Pdu pdu) {
       Pdu request(nvme::kMaxTermReqSize);
       request.resize(nvme::encode_term_req(std::span<std::byte, nvme::kMaxTermReqSize>(request),
                                            nvme::PduReceiver::kController,
                                            {.fes = nvme::FatalErrorStatus::kSequenceError}, pdu));
       return Tampering{.send = {request}};
     }},
    {"malformed termination request", PduType::kCapsuleResp,
     [](Pdu) {
       Pdu request(nvme::kMaxTermReqSize);
       nvme::store(std::span(request), nvme::PduCommonHeader{.type = PduType::kC2hTermReq, .hlen = 200, .plen = 7});
       return Tampering{.send = {request}};
     }},
    {"cut in the middle of data", PduType::kC2hData,
     [](Pdu pdu) {
       pdu.resize(pdu.size() / 2);
       return Tampering{.send = {pdu}, .cut = true};
     }},
    {"cut in the middle of a header", PduType::kCapsuleResp,
     [](Pdu pdu) {
       pdu.resize(5);
       return Tampering{.send = {pdu}, .cut = true};
     }},
    {"no answer", PduType::kCapsuleResp, [](Pdu) { return Tampering{}; }},
    {"no data", PduType::kC2hData, [](Pdu) { return Tampering{}; }},
    {"half of the data, then nothing", PduType::kC2hData,
     [](Pdu pdu) {
       pdu.resize(pdu.size() / 2);
       return Tampering{.send = {pdu}};
     }},
};

TEST_F(HostileTarget, OnceAndTheIoSucceedsAllTheSame) {
  uint64_t seed = 1;
  for (const Fault& fault : kFaults) {
    SCOPED_TRACE(fault.name);
    build(seed++, fmt::format("io_timeout_ms=1000&admin_timeout_ms=1000&{}", fault.parameters));
    ASSERT_TRUE(open());
    write_and_read(0x11, 65536);
    const size_t before = proxy().num_connections();
    bool done = false;
    proxy().tamper = [&](Pdu pdu) -> Tampering {
      if (done || type_of(pdu) != fault.type) return {.send = {std::move(pdu)}};
      done = true;
      return fault.tamper(std::move(pdu));
    };
    write_and_read(0x22, 65536);
    EXPECT_TRUE(done);
    proxy().tamper = {};
    write_and_read(0x33, 4096);
    EXPECT_EQ(proxy().num_connections() > before, fault.resets);
    site_->end();
    if (HasFailure()) return;
  }
}

// Then I/O ends with a path error when the window is over, not before and not much later.
TEST_F(HostileTarget, AlwaysAndTheIoFailsInTime) {
  uint64_t seed = 100;
  for (const Fault& fault : kFaults) {
    SCOPED_TRACE(fault.name);
    build(seed++, fmt::format("retry_window_ms=3000&io_timeout_ms=1000&admin_timeout_ms=1000&{}", fault.parameters));
    ASSERT_TRUE(open());
    write_and_read(0x11, 65536);
    // Of I/O queues: Connect and Identify get through.
    proxy().tamper = [&](Pdu pdu) -> Tampering {
      const bool data = type_of(pdu) == PduType::kC2hData && nvme::load<nvme::C2hData>(pdu).datal < 65536;
      if (type_of(pdu) != fault.type || data || fault.type == PduType::kCapsuleResp) return {.send = {std::move(pdu)}};
      return fault.tamper(std::move(pdu));
    };
    if (fault.type != PduType::kCapsuleResp && !fault.comes_late) {
      std::vector<std::byte> data(65536);
      const TimePoint begin = site_->world().now();
      const auto type = fault.type == PduType::kC2hData ? IoType::kRead : IoType::kWrite;
      const nvme::Status status = site_->io({.type = type, .lba = 8}, &data);
      EXPECT_FALSE(status.is_success());
      const bool path = status.is(nvme::PathStatus::kHostPathingError) || status.is(nvme::PathStatus::kAbortedByHost) ||
                        status.is(nvme::GenericStatus::kTransientTransportError);
      EXPECT_TRUE(path) << status.to_string();
      EXPECT_LT(site_->world().now() - begin, std::chrono::seconds(20));
    }
    proxy().tamper = {};
    site_->run_until([&] { return site_->device().paths()[0].connected; });
    write_and_read(0x33, 65536);
    site_->end();
    if (HasFailure()) return;
  }
}

// The host ends the admin connection for a wrong answer to Abort, while the controller has a write it may execute yet.
TEST_F(HostileTarget, AWriteIsNotSentAgainBeforeTheControllerHasGivenUp) {
  for (const bool keep_alive : {true, false}) {
    build(50, fmt::format("io_timeout_ms=1000&admin_timeout_ms=1000&keep_alive_ms={}", keep_alive ? 4000 : 0));
    ASSERT_TRUE(open());
    bool begun = false, done = false;
    TimePoint ended_at{};
    proxy().tamper = [&](Pdu pdu) -> Tampering {
      if (std::exchange(done, done || (begun && type_of(pdu) == PduType::kCapsuleResp))) return {.send = {pdu}};
      if (type_of(pdu) == PduType::kR2t) {
        begun = true;
        return {};
      }
      if (!done) return {.send = {pdu}};
      ended_at = site_->world().now();
      return change_it<nvme::CapsuleResp, [](nvme::CapsuleResp& p) { p.cqe.cid ^= 1; }>(std::move(pdu));
    };
    std::vector<std::byte> data(65536);
    const nvme::Status status = site_->io({.type = IoType::kWrite, .lba = 8}, &data);
    EXPECT_TRUE(done);
    if (keep_alive) {
      EXPECT_TRUE(status.is_success()) << status.to_string();
      EXPECT_GE(site_->world().now() - ended_at, std::chrono::seconds(4));
    } else {
      EXPECT_TRUE(status.is(nvme::PathStatus::kHostPathingError)) << status.to_string();
    }
    proxy().tamper = {};
    site_->run_until([&] { return site_->device().paths()[0].connected; });
    write_and_read(0x33, 65536);
    site_->end();
  }
}

// Several commands take too long at once: each is aborted, before any of them takes the connection along.
TEST_F(HostileTarget, AllSlowCommandsAreAborted) {
  build(51, "io_timeout_ms=1000");
  ASSERT_TRUE(open());
  constexpr int kNumWrites = 5;
  int num_dropped = 0, num_answers = 0, num_done = 0;
  proxy().tamper = [&](Pdu pdu) -> Tampering {
    if (type_of(pdu) == PduType::kR2t && num_dropped < kNumWrites) return ++num_dropped, Tampering{};
    num_answers += type_of(pdu) == PduType::kCapsuleResp;
    return {.send = {std::move(pdu)}};
  };
  const size_t before = proxy().num_connections();
  std::vector<std::byte> data(65536);
  {
    const runtime::Reactor::Scope scope(site_->node().reactor(0));
    for (int i = 0; i < kNumWrites; ++i) {
      site_->node().reactor(0).spawn(
          "write", [](block::Channel& channel, std::vector<std::byte>& bytes, int& done) -> runtime::Task<> {
            const iovec piece{bytes.data(), bytes.size()};
            const auto status = co_await block::perform(
                channel, {.type = IoType::kWrite, .lba = 0, .num_blocks = bytes.size() / 512, .data = {&piece, 1}});
            EXPECT_TRUE(status.is_success()) << status.to_string();
            ++done;
          }(site_->channel(), data, num_done));
    }
  }
  site_->world().run_for(std::chrono::milliseconds(1400));
  EXPECT_EQ(proxy().num_connections(), before);
  EXPECT_EQ(num_answers, kNumWrites);  // to Abort
  site_->run_until([&] { return num_done == kNumWrites; });
  site_->end();
}

TEST_F(HostileTarget, FlushIsSentWhateverIdentifySays) {
  build(52, "");
  bool identified = false;
  proxy().tamper = [&](Pdu pdu) -> Tampering {
    if (type_of(pdu) == PduType::kC2hData && !std::exchange(identified, true)) {
      pdu[sizeof(nvme::C2hData) + offsetof(nvme::IdentifyController, vwc)] = {};
    }
    return {.send = {std::move(pdu)}};
  };
  ASSERT_TRUE(open());
  EXPECT_FALSE(site_->device().has_volatile_cache());
  unsigned count = 0;
  proxy().tamper = [&](Pdu pdu) -> Tampering { return ++count, Tampering{.send = {std::move(pdu)}}; };
  EXPECT_TRUE(site_->io({.type = IoType::kFlush}).is_success());
  EXPECT_EQ(count, 1u);
  site_->end();
}

// The connection ends right behind one of the answers that opening waits for: that is noticed, whichever it is.
TEST_F(HostileTarget, TheEndOfTheConnectionIsNoticedWhileOpening) {
  for (unsigned last = 1; last <= 16; ++last) {
    SCOPED_TRACE(last);
    build(60 + last, "io_timeout_ms=1000&admin_timeout_ms=1000");
    unsigned count = 0;
    proxy().tamper = [&](Pdu pdu) -> Tampering { return {.send = {std::move(pdu)}, .cut = ++count == last}; };
    Result<> opened = open();
    if (!opened) {
      site_->close_device();
      opened = open();
    }
    ASSERT_TRUE(opened);
    write_and_read(0x33, 65536);
    site_->end();
  }
}

// Bits of headers flip by chance, in connecting, too. What comes out is anybody's guess; it comes, and nothing is left.
TEST_F(HostileTarget, RandomBits) {
  unsigned num_opened = 0;
  target::for_each_sim_seed([&](uint64_t seed) {
    build(seed, "retry_window_ms=2000&io_timeout_ms=1000&admin_timeout_ms=1000&keep_alive_ms=5000");
    runtime::Random random(seed);
    proxy().tamper = [&](Pdu pdu) -> Tampering {
      if (random.one_in(12)) {
        const size_t range = random.one_in(2) ? pdu.size() : std::min<size_t>(pdu.size(), 24);
        pdu[random.below(range)] ^= static_cast<std::byte>(1u << random.below(8));
      }
      return {.send = {std::move(pdu)}};
    };
    Result<> opened;
    for (int i = 0; i < 20; ++i) {
      opened = open();
      if (opened) break;
      site_->close_device();
    }
    if (opened) {
      ++num_opened;
      std::vector<std::byte> data(16384);
      for (int i = 0; i < 30; ++i) {
        const auto type = random.one_in(2) ? IoType::kRead : IoType::kWrite;
        static_cast<void>(site_->io({.type = type, .lba = random.below(64)}, &data));
      }
    }
    proxy().tamper = {};
    site_->end();
  });
  EXPECT_GT(num_opened, 0u);
}

}  // namespace
}  // namespace cairn::nvmf
