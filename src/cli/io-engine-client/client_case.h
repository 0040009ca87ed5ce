// A test of the client's commands, which are run as processes against an engine that answers what it is told to.
#pragma once

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cli/io-engine-client/answering_engine.h"
#include "cli/io-engine-client/client_process.h"

namespace cairn::cli {

template <typename Message>
Message from_text(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

class ClientCase : public testing::Test {
 protected:
  Finished run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"-b", engine_.address()});
    return run_client(arguments);
  }
  // The command succeeds, is silent on standard error and prints this.
  void expect(const std::vector<std::string>& arguments, const std::string& out) {
    const Finished finished = run(arguments);
    EXPECT_EQ(finished.exit_code, 0);
    EXPECT_EQ(finished.out, out);
    EXPECT_EQ(finished.err, "");
  }
  // A mistake in the arguments: told, and nothing is sent.
  void expect_usage_error(const std::vector<std::string>& arguments, const std::string& text) {
    const Finished finished = run(arguments);
    EXPECT_EQ(finished.exit_code, 2);
    EXPECT_THAT(finished.err, testing::HasSubstr(text));
    EXPECT_THAT(engine_.take_requests(), testing::IsEmpty());
  }

  AnsweringEngine engine_;
};

}  // namespace cairn::cli
