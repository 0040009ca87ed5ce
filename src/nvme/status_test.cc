#include "nvme/status.h"

#include <gtest/gtest.h>

namespace cairn::nvme {
namespace {

struct Row {
  Status status;
  uint16_t wire;  // the upper half of completion dword 3, by hand from the figure
  const char* name;
};

TEST(Status, WireValues) {
  const Row rows[] = {
      {Status::success(), 0x0000, "Successful Completion"},
      {Status::generic(GenericStatus::kInvalidField), 0x0004, "Invalid Field in Command"},
      {Status::generic(GenericStatus::kInvalidField, Dnr::kYes), 0x8004, "Invalid Field in Command"},
      {Status::generic(GenericStatus::kLbaOutOfRange, Dnr::kYes), 0x8100, "LBA Out of Range"},
      {Status::generic(GenericStatus::kReservationConflict), 0x0106, "Reservation Conflict"},
      {Status::command(CommandStatus::kInvalidQueueIdentifier), 0x0202, "Invalid Queue Identifier"},
      {Status::media(MediaStatus::kCompareFailure), 0x050a, "Compare Failure"},
      {Status::path(PathStatus::kAnaInaccessible), 0x0604, "Asymmetric Access Inaccessible"},
      {Status::vendor(0x28), 0x0e50, "Vendor Specific"},
      {Status::generic(GenericStatus::kInternalError).with_retry_delay(3), 0x300c, "Internal Error"},
      {Status::generic(GenericStatus::kInternalError).with_more(true), 0x400c, "Internal Error"},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(row.status.to_wire(), row.wire) << row.name;
    EXPECT_EQ(Status::from_wire(row.wire), row.status) << row.name;
    EXPECT_EQ(Status::from_wire(row.wire | 1), row.status) << "the phase tag is not part of the status";
    EXPECT_EQ(status_name(row.status), row.name);
  }
}

TEST(Status, PartsComeBack) {
  const Status status = Status::fabrics(FabricsStatus::kInvalidHost, Dnr::kYes).with_retry_delay(2).with_more(true);
  EXPECT_EQ(status.type(), StatusCodeType::kCommandSpecific);
  EXPECT_EQ(status.code(), 0x84);
  EXPECT_EQ(status.retry_delay(), 2);
  EXPECT_TRUE(status.more());
  EXPECT_TRUE(status.do_not_retry());
  EXPECT_TRUE(status.is(FabricsStatus::kInvalidHost));
  EXPECT_FALSE(status.is(GenericStatus::kFormatInProgress)) << "84h of another type";
  EXPECT_EQ(status.value(), 0x7184);
  EXPECT_FALSE(status.with_dnr(Dnr::kNo).do_not_retry());
  EXPECT_EQ(status.with_dnr(Dnr::kNo).code(), 0x84);
}

TEST(Status, OnlyTypeAndCodeMakeFailure) {
  EXPECT_TRUE(Status::from_wire(0xf000).is_success());  // DNR, M and CRD set
  EXPECT_FALSE(Status::from_wire(0x0002).is_success());
  EXPECT_FALSE(Status::from_wire(0x0200).is_success());
}

TEST(Status, NamesOfFabricsAndOfUndefinedCodes) {
  EXPECT_EQ(status_name(Status::fabrics(FabricsStatus::kInvalidParameters), true), "Connect Invalid Parameters");
  EXPECT_EQ(status_name(Status::fabrics(FabricsStatus::kInvalidParameters), false),
            "Attempted Write to Read Only Range");
  EXPECT_EQ(status_name(Status::command(CommandStatus::kInvalidQueueSize), true), "Invalid Queue Size");
  EXPECT_EQ(status_name(Status::generic(static_cast<GenericStatus>(0x17))), "Reserved");
  EXPECT_EQ(status_name(Status::generic(static_cast<GenericStatus>(0xc1))), "Vendor Specific");
  EXPECT_EQ(status_name(Status::from_wire(0x0802)), "Reserved") << "type 4";
}

TEST(Status, Text) {
  EXPECT_EQ(Status::generic(GenericStatus::kLbaOutOfRange, Dnr::kYes).to_string(),
            "LBA Out of Range (0/80h), do not retry");
  EXPECT_EQ(Status::path(PathStatus::kAnaTransition).with_retry_delay(1).to_string(),
            "Asymmetric Access Transition (3/03h), retry delay 1");
}

static_assert(Status().is_success() && !Status::generic(GenericStatus::kInvalidOpcode).is_success());

}  // namespace
}  // namespace cairn::nvme
