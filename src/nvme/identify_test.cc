#include "nvme/identify.h"

#include <gtest/gtest.h>

#include "nvme/feature.h"
#include "nvme/identify_controller.h"
#include "nvme/identify_namespace.h"
#include "nvme/log_page.h"
#include "nvme/property.h"

namespace cairn::nvme {
namespace {

TEST(Wire, AsciiFieldsArePaddedWithSpacesAndCut) {
  char field[8];
  set_ascii(field, "abc");
  EXPECT_EQ(std::string_view(field, 8), "abc     ");
  EXPECT_EQ(get_ascii(field), "abc");
  set_ascii(field, "0123456789");
  EXPECT_EQ(std::string_view(field, 8), "01234567");
  set_ascii(field, "");
  EXPECT_EQ(get_ascii(field), "");
}

TEST(Wire, CStringsAlwaysEnd) {
  char field[4];
  set_c_string(field, "abcdef");
  EXPECT_EQ(get_c_string(field), "abc");
  EXPECT_EQ(field[3], '\0');
  const char unterminated[3] = {'x', 'y', 'z'};
  EXPECT_EQ(get_c_string(unterminated), "xyz");
}

TEST(Wire, WindowOfAStructure) {
  IdentifyNvmController value;
  value.vsl = 1;
  value.dmrl = 4;
  std::array<std::byte, 6> out;
  out.fill(std::byte{0xee});
  store_window(out, value, 2);
  EXPECT_EQ(out[0], std::byte{0});
  EXPECT_EQ(out[1], std::byte{4});
  out.fill(std::byte{0xee});
  store_window(out, value, 4094);  // two bytes left
  for (std::byte byte : out) EXPECT_EQ(byte, std::byte{0});
  out.fill(std::byte{0xee});
  store_window(out, value, uint64_t{1} << 40);
  for (std::byte byte : out) EXPECT_EQ(byte, std::byte{0});
}

TEST(Wire, UnalignedLoadAndStore) {
  std::array<std::byte, 17> buffer{};
  store(std::span(buffer).subspan(1), Uint128{.low = 0x0807060504030201, .high = 9});
  EXPECT_EQ(buffer[1], std::byte{1});
  EXPECT_EQ(buffer[8], std::byte{8});
  EXPECT_EQ(load<Uint128>(std::span(buffer).subspan(1)).high, 9u);
}

TEST(Identify, DescriptorListImage) {
  const uint8_t nguid[16] = {0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
                             0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};
  const uint8_t csi[1] = {0};
  NamespaceDescriptorList list;
  list.add(NamespaceIdType::kNguid, nguid);
  list.add(NamespaceIdType::kCommandSet, csi);
  const auto data = list.data();
  const uint8_t expected[] = {2,    16,   0,    0,    0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8,
                              0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 4,    1,    0,    0,    0,    0};
  for (size_t i = 0; i < sizeof(expected); ++i) EXPECT_EQ(data[i], std::byte{expected[i]}) << "byte " << i;

  const auto found = find_namespace_id(data, NamespaceIdType::kCommandSet);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->size(), 1u);
  EXPECT_TRUE(find_namespace_id(data, NamespaceIdType::kNguid));
  EXPECT_FALSE(find_namespace_id(data, NamespaceIdType::kUuid));
}

TEST(Identify, BrokenDescriptorListsAreNotFollowed) {
  std::array<std::byte, 8> list{};
  list[0] = std::byte{2};
  list[1] = std::byte{16};  // longer than the list
  EXPECT_FALSE(find_namespace_id(list, NamespaceIdType::kNguid));
  list[1] = std::byte{4};  // not the size of an NGUID
  EXPECT_FALSE(find_namespace_id(list, NamespaceIdType::kNguid));
  EXPECT_FALSE(find_namespace_id({}, NamespaceIdType::kNguid));
  EXPECT_FALSE(find_namespace_id(std::span(list).first(3), NamespaceIdType::kNguid));
}

TEST(Identify, FormatIndexHasTwoParts) {
  IdentifyNamespace ns;
  ns.flbas = 0x3f;  // bit 4 is the metadata's place
  EXPECT_EQ(ns.format_index(), 0x1f);
  ns.flbas = 0x02;
  EXPECT_EQ(ns.format_index(), 2);
}

TEST(LogPage, TemperatureLiesAtAnOddOffset) {
  HealthInformation health;
  health.set_composite_temperature(0x0136);
  const auto bytes = bytes_of(health);
  EXPECT_EQ(bytes[1], std::byte{0x36});
  EXPECT_EQ(bytes[2], std::byte{0x01});
}

TEST(Property, Capabilities) {
  const ControllerCapabilities cap{
      .mqes = 127, .cqr = true, .to = 30, .css = ControllerCapabilities::kCssNvm, .mpsmax = 4, .crms = 1};
  constexpr uint64_t kWire = 0x007f | 1ull << 16 | 30ull << 24 | 1ull << 37 | 4ull << 52 | 1ull << 59;
  EXPECT_EQ(cap.encode(), kWire);
  EXPECT_EQ(ControllerCapabilities::decode(kWire).encode(), kWire);
  for (unsigned i = 0; i < 61; ++i) {  // every defined bit survives the round trip
    const bool reserved = (i >= 19 && i <= 23);
    const uint64_t wire = uint64_t{1} << i;
    EXPECT_EQ(ControllerCapabilities::decode(wire).encode(), reserved ? 0 : wire) << "bit " << i;
  }
}

TEST(Property, ConfigurationAndStatus) {
  EXPECT_EQ((ControllerConfiguration{.en = true, .iosqes = 6, .iocqes = 4}.encode()), 0x00460001u);
  const auto cc = ControllerConfiguration::decode(0x00464061);
  EXPECT_TRUE(cc.en);
  EXPECT_EQ(cc.css, ControllerConfiguration::kCssAllSupported);
  EXPECT_EQ(cc.shn, ShutdownNotification::kNormal);
  EXPECT_EQ((ControllerStatus{.rdy = true, .shst = ShutdownStatus::kComplete}.encode()), 0x09u);
  EXPECT_TRUE(ControllerStatus::decode(2).cfs);
  EXPECT_EQ(kVersion1_4, 0x00010400u);
  EXPECT_EQ(property_size(Property::kCap), 8u);
  EXPECT_EQ(property_size(Property::kCsts), 4u);
}

TEST(Feature, Encodings) {
  EXPECT_EQ((NumberOfQueues{.submission = 31, .completion = 30}.encode()), 0x001e001fu);
  EXPECT_EQ(NumberOfQueues::decode(0x001e001f).completion, 30);
  EXPECT_EQ((Arbitration{.burst = 7, .low = 1, .medium = 2, .high = 3}.encode()), 0x03020107u);
  EXPECT_EQ(TemperatureThreshold::decode(0x001f0157).kelvin, 0x157);
  EXPECT_EQ(TemperatureThreshold::decode(0x001f0157).sensor, 15);
  EXPECT_EQ(TemperatureThreshold::decode(0x001f0157).kind, 1);
  EXPECT_EQ((ErrorRecovery{.time_limit = 5, .deallocated_error = true}.encode()), 0x00010005u);
  EXPECT_TRUE(InterruptVectorConfiguration::decode(0x10003).coalescing_disable);
  EXPECT_EQ(InterruptCoalescing::decode(0x0203).time, 2);
  EXPECT_EQ((PowerManagement{.power_state = 3, .workload_hint = 1}.encode()), 0x23u);
}

}  // namespace
}  // namespace cairn::nvme
