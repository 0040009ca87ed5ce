#include "base/error.h"

#include <cerrno>

#include <gtest/gtest.h>

namespace cairn {
namespace {

TEST(Error, PrintsTheWholeChain) {
  const Error cause(Code::kNotFound, "no such file");
  const Error error(Code::kInvalidArgument, "Failed to create a BDEV 'x'", cause);
  EXPECT_EQ(error.to_string(), "Failed to create a BDEV 'x': no such file");
  EXPECT_EQ(error.code(), Code::kInvalidArgument);
  ASSERT_NE(error.cause(), nullptr);
  EXPECT_EQ(error.cause()->code(), Code::kNotFound);
}

TEST(Error, FromErrnoKeepsTheNumber) {
  const Error error = Error::from_errno(ENOSPC, "write");
  EXPECT_EQ(error.code(), Code::kResourceExhausted);
  EXPECT_EQ(error.errno_value(), ENOSPC);
  EXPECT_EQ(error.message(), "write: No space left on device");
}

TEST(Error, WithErrnoKeepsTheText) {
  const Error error = Error::with_errno(EMFILE, "no free metadata page");
  EXPECT_EQ(error.code(), Code::kResourceExhausted);
  EXPECT_EQ(error.errno_value(), EMFILE);
  EXPECT_EQ(error.to_string(), "no free metadata page");
}

TEST(Error, CodesHaveGrpcNames) {
  EXPECT_EQ(code_name(Code::kFailedPrecondition), "FAILED_PRECONDITION");
  EXPECT_EQ(static_cast<int>(Code::kDataLoss), 15);
}

}  // namespace
}  // namespace cairn
